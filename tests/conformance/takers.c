/* SPDX-License-Identifier: BSD-2-Clause */
/* Two that take from one connection at the same time, by splice(2), sendfile(2) or recv(2): everything comes once, and nothing is lost.
 *
 *   takers HOW [words=N] [processes=1] [spliced=1] [deadline=S]
 *
 * HOW is a letter for each of the two: s (splice into a pipe), f (sendfile into one), r (recv, and write into one), h (the second alone: a
 * handler that a timer interrupts the first with, which receives without waiting). The stream is of 4 N bytes, in messages each of which is of one
 * value, the next one's the next; what a taker gets may begin and end anywhere, as TCP's segments do. With processes=1 the second is a child. With
 * spliced=1 the kernel's own splice has filled the pipes once, after which it takes no RWF_NOWAIT there.
 * Prints one JSON line: "lost" and "again" are bytes of a value that are fewer, or more, than were sent.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../support/watchdog.h"

#define TAKERS 2
#define TAKE_BYTES 4096u
#define MESSAGE_BYTES 1000u
#define PAUSE_EVERY 16u /* messages */
#define VALUES 256u
#define WARM_UP_TURNS 24
#define INTERVAL_US 200

struct taker {
	char how;
	int fd;
	int pipe[2];
};

static struct taker takers[TAKERS];
static uint32_t words = 400000;
static bool spliced;
static uint64_t sent[VALUES];
static _Atomic uint64_t seen[VALUES];

static bool splice_zeros(const int ends[2])
{
	char bytes[16];
	int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	bool done = zeros >= 0 && splice(zeros, NULL, ends[1], NULL, sizeof(bytes), 0) == sizeof(bytes) &&
		    read(ends[0], bytes, sizeof(bytes)) == sizeof(bytes);

	close(zeros);
	return done;
}

static ssize_t take(const struct taker *taker)
{
	char buffer[TAKE_BYTES];
	ssize_t bytes;

	if (taker->how == 's')
		return splice(taker->fd, NULL, taker->pipe[1], NULL, TAKE_BYTES, 0);
	if (taker->how == 'f')
		return sendfile(taker->pipe[1], taker->fd, NULL, TAKE_BYTES);
	bytes = recv(taker->fd, buffer, sizeof(buffer), 0);
	if (bytes > 0 && write(taker->pipe[1], buffer, (size_t)bytes) != bytes)
		die("write");
	return bytes;
}

static void interrupt(int number)
{
	char buffer[TAKE_BYTES / 4];
	int saved = errno;
	ssize_t bytes = recv(takers[1].fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	(void)number;
	if (bytes > 0 && write(takers[1].pipe[1], buffer, (size_t)bytes) != bytes)
		_exit(EXIT_USAGE);
	errno = saved;
}

/* Of this thread alone: it is blocked in the others. */
static void begin_interrupts(void)
{
	struct itimerval timer = { .it_interval = { .tv_usec = INTERVAL_US }, .it_value = { .tv_usec = INTERVAL_US } };
	struct sigaction action = { .sa_handler = interrupt, .sa_flags = SA_RESTART };
	sigset_t set;

	sigaction(SIGALRM, &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	setitimer(ITIMER_REAL, &timer, NULL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void end_interrupts(void)
{
	signal(SIGALRM, SIG_IGN);
	close(takers[1].pipe[1]);
}

/* tcp_splice_read() says 0, too, when it has found nothing and something has come by then. */
static bool has_ended(int fd)
{
	char byte;

	return recv(fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void *taker_main(void *argument)
{
	const struct taker *taker = argument;
	bool is_interrupted = takers[1].how == 'h';
	ssize_t bytes;

	if (is_interrupted)
		begin_interrupts();
	while ((bytes = take(taker)) > 0 || (bytes < 0 && errno == EINTR) || (bytes == 0 && !has_ended(taker->fd)))
		;
	if (bytes < 0)
		die("take by %c", taker->how);
	if (is_interrupted)
		end_interrupts();
	close(taker->pipe[1]);
	return NULL;
}

static void *counter_main(void *argument)
{
	const struct taker *taker = argument;
	unsigned char bytes[TAKE_BYTES];
	ssize_t count;

	while ((count = read(taker->pipe[0], bytes, sizeof(bytes))) > 0)
		for (ssize_t i = 0; i < count; i++)
			atomic_fetch_add_explicit(&seen[bytes[i]], 1, memory_order_relaxed);
	return NULL;
}

static void send_all(int fd)
{
	unsigned char message[MESSAGE_BYTES];
	uint64_t left = 4ull * words;

	for (uint32_t number = 1; left > 0; number++) {
		size_t bytes = left < sizeof(message) ? left : sizeof(message);

		memset(message, (int)(number % VALUES), bytes);
		if (write_whole(fd, message, bytes))
			die("send");
		sent[number % VALUES] += bytes;
		left -= bytes;
		if (number % PAUSE_EVERY == 0)
			pause_us(100); /* for the readers: what is sent behind unread bytes of TCP's passes */
	}
	shutdown(fd, SHUT_WR);
}

static void warm_up(int a, int b)
{
	char turn[4] = { 0 };

	for (int i = 0; i < WARM_UP_TURNS; i++) {
		if (write_whole(a, turn, sizeof(turn)) || read_whole(b, turn, sizeof(turn)) ||
		    write_whole(b, turn, sizeof(turn)) || read_whole(a, turn, sizeof(turn)))
			die("warm-up");
		pause_us(1000); /* a join takes about so long */
	}
}

static pid_t start_child(int sender)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child > 0) {
		close(takers[1].pipe[1]);
		return child;
	}
	close(sender);
	close(takers[0].pipe[1]);
	taker_main(&takers[1]);
	_exit(0);
}

static void play(bool processes)
{
	pthread_t threads[2 * TAKERS];
	unsigned started = 0, status = 0;
	pid_t child = 0;
	sigset_t set;
	int a, b;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	loopback_pair(&a, &b);
	warm_up(a, b);
	for (int i = 0; i < TAKERS; i++) {
		takers[i].fd = b;
		if (pipe(takers[i].pipe) || (spliced && !splice_zeros(takers[i].pipe)))
			die("pipe");
	}
	if (processes)
		child = start_child(a);
	for (int i = 0; i < TAKERS; i++) {
		bool has_thread = i == 0 || (!processes && takers[i].how != 'h');

		if (has_thread && pthread_create(&threads[started++], NULL, taker_main, &takers[i]))
			die("pthread_create");
		if (pthread_create(&threads[started++], NULL, counter_main, &takers[i]))
			die("pthread_create");
	}
	send_all(a);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (child && (waitpid(child, (int *)&status, 0) != child || status != 0))
		die("the child ended with %u", status);
}

int main(int argc, char **argv)
{
	uint64_t lost = 0, again = 0;
	unsigned deadline_s = 60;
	bool processes = false;

	for (int i = 2; i < argc; i++) {
		if (!strncmp(argv[i], "words=", 6))
			words = (uint32_t)strtoul(argv[i] + 6, NULL, 0);
		else if (!strncmp(argv[i], "processes=", 10))
			processes = strtoul(argv[i] + 10, NULL, 0) != 0;
		else if (!strncmp(argv[i], "spliced=", 8))
			spliced = strtoul(argv[i] + 8, NULL, 0) != 0;
		else if (!strncmp(argv[i], "deadline=", 9))
			deadline_s = (unsigned)strtoul(argv[i] + 9, NULL, 0);
	}
	if (argc < 2 || strlen(argv[1]) != TAKERS || strspn(argv[1], "sfrh") != TAKERS || argv[1][0] == 'h' || !words)
		return EXIT_USAGE;
	for (int i = 0; i < TAKERS; i++)
		takers[i].how = argv[1][i];
	watchdog_start(deadline_s, NULL);
	play(processes);
	for (uint32_t i = 0; i < VALUES; i++) {
		lost += sent[i] > seen[i] ? sent[i] - seen[i] : 0;
		again += sent[i] < seen[i] ? seen[i] - sent[i] : 0;
	}
	printf("{\"words\": %u, \"lost\": %llu, \"again\": %llu}\n", words, (unsigned long long)lost,
	       (unsigned long long)again);
	return 0;
}
