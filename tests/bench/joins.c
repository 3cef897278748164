/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections and hardly anything else: threads of the client connect and send a byte, threads of the server accept, read
 * it and close, the client sees the end of the stream and closes. With SMACCEL_ADMIT=eager both ends join, so several
 * joins are asked for at once, and what bounds them is the helper. (The byte keeps an end open until the other is in.) Prints the ends of connections opened in a second, and the distribution of what one
 * connection took from connect() to close().
 *   joins [--threads N] [arguments of peers.h] */
#include <pthread.h>
#include <stdatomic.h>

#include "peers.h"

#define THREADS_MAX 64
#define SAMPLES_OF_THREAD (SAMPLES_MAX / THREADS_MAX)

struct opener {
	const struct peers *peers;
	struct samples samples;
	pthread_t thread;
};

static _Atomic bool measuring, ended;

static void *accept_connections(void *argument)
{
	int listener = *(const int *)argument;
	char byte;

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return NULL; /* shut down */
		if (!read_message(fd, &byte, 1))
			exit(1);
		must(close(fd));
	}
}

static int serve(int argc, char **argv, int threads)
{
	int listener = peers_listen(argc, argv);
	pthread_t thread[THREADS_MAX];
	char byte;

	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, accept_connections, &listener))
			die("pthread_create");
	must(read(peers_control(argc, argv), &byte, 1));
	must(shutdown(listener, SHUT_RDWR));
	for (int i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	return 0;
}

static void *open_connections(void *argument)
{
	struct opener *opener = argument;
	char byte;

	while (!atomic_load(&ended)) {
		uint64_t begin = now_ns();
		int fd = peers_connect(opener->peers);

		write_message(fd, "", 1);
		if (read_message(fd, &byte, 1))
			exit(1);
		must(close(fd));
		if (atomic_load(&measuring) && opener->samples.count < SAMPLES_OF_THREAD)
			samples_add(&opener->samples, now_ns() - begin);
	}
	return NULL;
}

static void doze(double seconds)
{
	struct timespec time = { .tv_sec = (time_t)seconds,
				 .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };

	must(nanosleep(&time, NULL));
}

int main(int argc, char **argv)
{
	struct samples samples = { .ns = allocate(SAMPLES_MAX, sizeof(uint64_t)) };
	int threads = (int)argument(argc, argv, "threads", 8);
	static struct opener openers[THREADS_MAX];
	struct peers peers;
	uint64_t begin, elapsed;

	if (threads < 1 || threads > THREADS_MAX)
		return 2;
	if (peers_control(argc, argv) >= 0)
		return serve(argc, argv, threads);
	peers = peers_start(argc, argv, 10);
	for (int i = 0; i < threads; i++) {
		openers[i].peers = &peers;
		openers[i].samples.ns = samples.ns + (size_t)i * SAMPLES_OF_THREAD;
		if (pthread_create(&openers[i].thread, NULL, open_connections, &openers[i]))
			die("pthread_create");
	}
	doze(peers.warm_up);
	begin = now_ns();
	atomic_store(&measuring, true);
	doze(peers.seconds);
	atomic_store(&measuring, false);
	elapsed = now_ns() - begin;
	atomic_store(&ended, true);
	for (int i = 0; i < threads; i++) {
		pthread_join(openers[i].thread, NULL);
		memmove(samples.ns + samples.count, openers[i].samples.ns, openers[i].samples.count * sizeof(uint64_t));
		samples.count += openers[i].samples.count;
	}
	peers_stop(&peers);
	printf("{\"ends_per_second\": %.1f, ", 2.0 * (double)samples.count * 1e9 / (double)elapsed);
	samples_print(&samples);
	printf("}\n");
	return 0;
}
