/* SPDX-License-Identifier: BSD-2-Clause */
/* The stalled reader: how much a sender gets rid of while nobody reads, and how the bytes come when the reader wakes.
 *
 *   stalled_reader [rcvbuf=N] [filled=N] [blocking=1] [stall_ms=N] [after=N] [chunk=N] [grow=1] [deadline=S] [cgroup=FOLDER] [others=N]
 *
 * cgroup=FOLDER: readers' sockets are of that cgroup, all else of the one above it.
 * others=N: beside it, so many connections are sent to until nothing more goes, and never read from.
 * filled=N: before all that small writes, which do not join, fill the receive buffer again and again until it has N bytes: its window is
 * all of it then. grow=1: before all that its receive window is made to grow (growing.h), and then is streamed to for a while.
 * Warms the connection up with turns until it redirects (a bounded number), then sends against a reader that sleeps for stall_ms, then reads
 * everything and `after` bytes more while the sender goes on. Measured: bytes accepted early and at the end of the stall,
 * samples with POLLOUT set, socket memory, the longest time without a byte after the wake-up, and what the counters of
 * this network namespace say (run it in one of its own). One line of JSON; the test compares it with plain TCP's.
 */
#define _GNU_SOURCE
#include <linux/sock_diag.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "../support/growing.h"
#include "../support/redirecting.h"
#include "../support/watchdog.h"

#define WARM_TURNS 64u
#define FILLING_WRITE_BYTES 1024u
#define FILLING_READS_MAX 20000u
#define FILLING_PAUSE_US 200u /* many bytes are to wait for each read */
#define GROWN_WRITES 128      /* of 256 KiB */
#define TURNS_MAX 20
#define GROWN_STREAMS_MAX 300
#define GROWN_PAUSE_US 10000
#define READ_BYTES (64u << 10)
#define SAMPLE_MS 100u
#define SETTLE_MS 3000u /* when the first figure is taken: by then a sender has long stopped */

static unsigned rcvbuf, filled, blocking, stall_ms = 15000, chunk = 16384, grow, deadline_s = 60, others;
static uint64_t after_bytes = 8u << 20;
static int sender_fd, receiver_fd;
static const char *cgroup;
static bool grown_redirects; /* most of what is streamed through the grown window */
static struct pattern pattern;
static _Atomic uint64_t sent_bytes, target_bytes = UINT64_MAX, in_send_since_us;

struct result {
	int buffer; /* when the sender begins */
	bool redirects;
	uint64_t early, stalled;
	unsigned writable_samples, samples;
	uint32_t receive_memory, send_memory;
	uint64_t first_us, longest_us, longest_at, total;
};

static void *sender_main(void *argument)
{
	unsigned char *buffer = malloc(chunk);
	struct pollfd wait = { .fd = sender_fd, .events = POLLOUT };

	while (buffer && sent_bytes < target_bytes) {
		uint64_t left = target_bytes - sent_bytes;
		size_t bytes = left < chunk ? (size_t)left : chunk;
		ssize_t got;

		pattern_fill(&pattern, sent_bytes, buffer, bytes);
		in_send_since_us = now_us();
		got = send(sender_fd, buffer, bytes, MSG_NOSIGNAL);
		in_send_since_us = 0;
		if (got > 0)
			sent_bytes += (uint64_t)got;
		else if (errno != EAGAIN || blocking)
			die("send: %zd", got);
		else
			poll(&wait, 1, 50);
	}
	shutdown(sender_fd, SHUT_WR);
	free(buffer);
	return argument;
}

static void *fill_main(void *stops)
{
	char bytes[FILLING_WRITE_BYTES] = "";

	for (; !*(_Atomic bool *)stops; sent_bytes += sizeof(bytes))
		if (write_whole(sender_fd, bytes, sizeof(bytes)))
			die("filling");
	return NULL;
}

static bool readable(void)
{
	struct pollfd poller = { .fd = receiver_fd, .events = POLLIN };

	return poll(&poller, 1, 1) == 1;
}

static uint64_t receive_filling(void)
{
	static char bytes[1 << 20];
	ssize_t got = recv(receiver_fd, bytes, sizeof(bytes), 0);

	if (got <= 0)
		die("filling: %zd", got);
	return (uint64_t)got;
}

static void fill(void)
{
	_Atomic bool stops = false;
	uint64_t received = 0;
	pthread_t writer;

	if (pthread_create(&writer, NULL, fill_main, &stops))
		die("pthread_create");
	for (unsigned i = 0; i < FILLING_READS_MAX && (i < 100 || receive_buffer_bytes(receiver_fd) < (int)filled);
	     i++) {
		pause_us(FILLING_PAUSE_US);
		received += receive_filling();
	}
	/* What the writer is at counts when it is done. */
	stops = true;
	while (pthread_tryjoin_np(writer, NULL))
		received += readable() ? receive_filling() : 0;
	while (received < sent_bytes)
		received += receive_filling();
	sent_bytes = 0;
}

/* True if TCP has seen nothing of it. */
static bool turn(void)
{
	uint64_t before = received_by_tcp(receiver_fd) + received_by_tcp(sender_fd);
	char message[64] = "";

	if (write_whole(sender_fd, message, sizeof(message)) || read_whole(receiver_fd, message, sizeof(message)) ||
	    write_whole(receiver_fd, message, sizeof(message)) || read_whole(sender_fd, message, sizeof(message)))
		die("warm-up");
	return received_by_tcp(receiver_fd) + received_by_tcp(sender_fd) == before;
}

/* A helper that had no CPU for 50 ms is asked again some hundred turns later. */
static void warm_up(void)
{
	bool redirected = false;

	for (unsigned i = 0; i < WARM_TURNS; i++)
		redirected = turn();
	for (unsigned i = 0; is_preloaded() && !redirected && i < REDIRECTING_TURNS_MAX; i++) {
		pause_us(1000);
		redirected = turn();
	}
}

/* Until the stream redirects: a busy helper lets the ends join later. */
static void grow_window(void)
{
	close(sender_fd);
	close(receiver_fd);
	growing_pair(&sender_fd, &receiver_fd, 0);
	growing_turns(sender_fd, receiver_fd);
	for (int i = 0; i < GROWN_STREAMS_MAX && !grown_redirects; i++) {
		uint64_t by_tcp = received_by_tcp(receiver_fd);

		growing_stream((struct growing){ sender_fd, receiver_fd, GROWN_WRITES });
		by_tcp = received_by_tcp(receiver_fd) - by_tcp;
		grown_redirects = by_tcp < (uint64_t)GROWN_WRITES * GROWING_CHUNK / 2;
		if (!is_preloaded())
			return;
		pause_us(GROWN_PAUSE_US);
	}
}

static void enter_cgroup(const char *where)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s/cgroup.procs", cgroup, where);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		die("%s", path);
	close(fd);
}

/* A socket belongs to the cgroup of who makes it, or accepts it. */
static void open_connection(int listener)
{
	sender_fd = loopback_connect("127.0.0.1", loopback_port(listener));
	if (cgroup)
		enter_cgroup("");
	receiver_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (receiver_fd < 0)
		die("accept");
	if (cgroup)
		enter_cgroup("/..");
}

/* The first connection, which is warmed up already, is put aside for the time. */
static void fill_others(int listener)
{
	int first[] = { sender_fd, receiver_fd };

	for (unsigned i = 0; i < others; i++) {
		char message[FILLING_WRITE_BYTES * 16] = "";

		open_connection(listener);
		warm_up();
		for (unsigned writes = 0; writes < FILLING_READS_MAX; writes++)
			if (send(sender_fd, message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
				break;
	}
	sender_fd = first[0];
	receiver_fd = first[1];
}

static uint32_t socket_memory(int fd, unsigned which)
{
	uint32_t memory[SK_MEMINFO_VARS] = { 0 };
	socklen_t size = sizeof(memory);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size);
	return memory[which];
}

static void stall(struct result *result)
{
	uint64_t start = now_us();
	struct pollfd state = { .fd = sender_fd, .events = POLLOUT };

	while (now_us() - start < stall_ms * 1000ull) {
		pause_us(SAMPLE_MS * 1000);
		if (now_us() - start < SETTLE_MS * 1000ull) {
			result->early = sent_bytes;
			continue;
		}
		result->samples++;
		state.revents = 0;
		if (poll(&state, 1, 0) == 1 && state.revents & POLLOUT)
			result->writable_samples++;
	}
	result->stalled = sent_bytes;
	result->receive_memory = socket_memory(receiver_fd, SK_MEMINFO_RMEM_ALLOC);
	result->send_memory = socket_memory(sender_fd, SK_MEMINFO_WMEM_QUEUED);
}

static void drain(struct result *result)
{
	unsigned char *buffer = malloc(READ_BYTES);
	uint64_t last = now_us();
	ssize_t got, bad;

	target_bytes = result->stalled + after_bytes;
	while (buffer && (got = recv(receiver_fd, buffer, READ_BYTES, 0)) > 0) {
		uint64_t now = now_us();

		if (!result->total)
			result->first_us = now - last;
		if (now - last > result->longest_us) {
			result->longest_us = now - last;
			result->longest_at = result->total;
		}
		bad = pattern_verify(&pattern, result->total, buffer, (size_t)got);
		if (bad >= 0) {
			fprintf(stderr, "MISMATCH at offset %llu\n",
				(unsigned long long)result->total + (unsigned long long)bad);
			_exit(EXIT_WRONG);
		}
		result->total += (uint64_t)got;
		last = now_us();
	}
	if (!buffer || got < 0)
		die("receive");
	free(buffer);
}

static void dump(void)
{
	uint64_t since = in_send_since_us;

	fprintf(stderr, "sent %llu of %llu; %s; receiver holds %u bytes, sender %u\n", (unsigned long long)sent_bytes,
		(unsigned long long)target_bytes, since ? "in send" : "not in send",
		socket_memory(receiver_fd, SK_MEMINFO_RMEM_ALLOC), socket_memory(sender_fd, SK_MEMINFO_WMEM_QUEUED));
}

static void options_read(int count, char **options)
{
	for (int i = 0; i < count; i++) {
		unsigned *numbers[] = { &rcvbuf, &filled, &blocking, &stall_ms, &chunk, &grow, &deadline_s, &others };
		const char *names[] = { "rcvbuf=", "filled=", "blocking=", "stall_ms=",
					"chunk=",  "grow=",   "deadline=", "others=" };
		unsigned which = 0;

		while (which < 8 && strncmp(options[i], names[which], strlen(names[which])))
			which++;
		if (which < 8)
			*numbers[which] = (unsigned)strtoul(options[i] + strlen(names[which]), NULL, 0);
		else if (!strncmp(options[i], "after=", 6))
			after_bytes = strtoull(options[i] + 6, NULL, 0);
		else if (!strncmp(options[i], "cgroup=", 7))
			cgroup = options[i] + 7;
		else
			_exit(EXIT_USAGE);
	}
}

int main(int argc, char **argv)
{
	struct result result = { 0 };
	pthread_t sender;
	int listener;

	signal(SIGPIPE, SIG_IGN);
	options_read(argc - 1, argv + 1);
	pattern = pattern_make(77, 0, 0, 0);
	listener = loopback_listen("127.0.0.1", 0, 4, (int)rcvbuf);
	open_connection(listener);
	watchdog_start(deadline_s, dump);
	if (grow)
		grow_window();
	if (filled)
		fill();
	warm_up();
	result.buffer = receive_buffer_bytes(receiver_fd);
	for (int i = 0; i < TURNS_MAX && !result.redirects; i++) /* either end may be at work while the other sends */
		result.redirects = turn();
	fill_others(listener);
	if (!blocking)
		fcntl(sender_fd, F_SETFL, O_NONBLOCK);
	if (pthread_create(&sender, NULL, sender_main, NULL))
		die("pthread_create");
	stall(&result);
	drain(&result);
	pthread_join(sender, NULL);
	printf("{\"early\": %llu, \"stalled\": %llu, \"samples\": %u, \"writable\": %u, \"receive_memory\": %u, "
	       "\"send_memory\": %u, \"first_us\": %llu, \"longest_us\": %llu, \"longest_at\": %llu, \"total\": %llu, "
	       "\"expected\": %llu, \"grown_redirects\": %d, \"buffer\": %d, \"redirects\": %d}\n",
	       (unsigned long long)result.early, (unsigned long long)result.stalled, result.samples,
	       result.writable_samples, result.receive_memory, result.send_memory, (unsigned long long)result.first_us,
	       (unsigned long long)result.longest_us, (unsigned long long)result.longest_at,
	       (unsigned long long)result.total, (unsigned long long)result.stalled + after_bytes, grown_redirects,
	       result.buffer, result.redirects);
	return 0;
}
