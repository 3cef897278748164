/* SPDX-License-Identifier: BSD-2-Clause */
/* close() while another thread's join may be in flight, with a helper that a test stops at random moments.
 *
 * close_race ROUNDS MAX_DELAY_US: each round is two fresh processes (so that no breaker is open yet) and one connection. A
 * thread of the client makes turns, so that its end offers and joins; after a random time the client's main thread closes
 * the fd. A thread of the server waits for the FIN, with poll(POLLRDHUP), which no join can hold up. Prints one JSON line:
 * {"us": [from close() to the FIN, ...]}. Any wait over DEADLINE_MS is an error.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/pattern.h"
#include "../support/random.h"

#define BYTES 64
#define DEADLINE_MS 3000

struct shared {
	_Atomic uint64_t closing_at_us, fin_at_us;
};
static struct shared *shared;

static void *watch_fin(void *argument)
{
	struct pollfd wait = { .fd = *(int *)argument, .events = POLLRDHUP };

	if (poll(&wait, 1, 2 * DEADLINE_MS) == 1)
		shared->fin_at_us = now_us();
	return NULL;
}

static void server_round(int listener)
{
	unsigned char buffer[BYTES];
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	pthread_t watcher;
	ssize_t got;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd < 0 || pthread_create(&watcher, NULL, watch_fin, &fd))
		die("server");
	while ((got = recv(fd, buffer, sizeof(buffer), 0)) > 0)
		if (send(fd, buffer, (size_t)got, MSG_NOSIGNAL) != got)
			break;
	pthread_join(watcher, NULL);
	_exit(shared->fin_at_us ? 0 : EXIT_DEADLINE);
}

/* Never sleeps inside a call on the fd: that would, on plain TCP too, put off the FIN. */
static void *make_turns(void *argument)
{
	unsigned char out[BYTES], in[BYTES];
	int fd = *(int *)argument;
	struct pattern pattern = pattern_make((uint64_t)getpid(), 0, 0, 0);

	for (uint64_t offset = 0;; offset += BYTES) {
		pattern_fill(&pattern, offset, out, BYTES);
		if (send(fd, out, BYTES, MSG_NOSIGNAL | MSG_DONTWAIT) != BYTES)
			return NULL;
		for (ssize_t done = 0; done < BYTES;) {
			ssize_t got = recv(fd, in + done, (size_t)(BYTES - done), MSG_DONTWAIT);

			if (got > 0)
				done += got;
			else if (got < 0 && errno == EAGAIN)
				pause_us(50);
			else
				return NULL;
		}
		if (pattern_verify(&pattern, offset, in, BYTES) >= 0) {
			fprintf(stderr, "close_race: wrong bytes\n");
			_exit(EXIT_WRONG);
		}
	}
}

static void client_round(unsigned port, uint64_t delay_us)
{
	pthread_t thread;
	int fd, number;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	number = fd = loopback_connect("127.0.0.1", port);
	if (pthread_create(&thread, NULL, make_turns, &number))
		die("pthread_create");
	pause_us(delay_us);
	shared->closing_at_us = now_us();
	if (close(fd))
		die("close");
	pthread_join(thread, NULL);
	_exit(0);
}

/* One child's exit within the deadline: 0, or its failure. */
static void reap(pid_t pid, const char *who)
{
	uint64_t until = now_us() + DEADLINE_MS * 1000ull;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (now_us() > until) {
			fprintf(stderr, "close_race: the %s hangs\n", who);
			kill(pid, SIGKILL);
			_exit(EXIT_DEADLINE);
		}
		pause_us(100);
	}
	if (status) {
		fprintf(stderr, "close_race: the %s ended with status 0x%x\n", who, (unsigned)status);
		_exit(EXIT_WRONG);
	}
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 20;
	uint64_t max_delay_us = argc > 2 ? strtoull(argv[2], NULL, 10) : 20000;
	struct rng rng = rng_make((uint64_t)getpid(), now_us());

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	printf("{\"us\": [");
	for (int i = 0; i < rounds; i++) {
		int listener = loopback_listen("127.0.0.1", 0, 8, 0);
		unsigned port = loopback_port(listener);
		uint64_t delay_us = rng_below(&rng, max_delay_us);
		pid_t server, client;

		shared->closing_at_us = shared->fin_at_us = 0;
		fflush(stdout);
		if ((server = fork()) == 0)
			server_round(listener);
		close(listener);
		if ((client = fork()) == 0)
			client_round(port, delay_us);
		reap(client, "client");
		reap(server, "server");
		printf("%s%lld", i ? ", " : "", (long long)(shared->fin_at_us - shared->closing_at_us));
	}
	printf("]}\n");
	return 0;
}
