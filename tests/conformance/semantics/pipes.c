/* SPDX-License-Identifier: BSD-2-Clause */
/* From a connection into a pipe, where the pipe decides, or the call is an unusual one. */
#include "semantics.h"

#include <sys/sendfile.h>
#include <sys/wait.h>

static void read_pipe(const char *field, int fd)
{
	char text[256];

	fcntl(fd, F_SETFL, O_NONBLOCK);
	GET(field, text, read(fd, text, sizeof(text)));
}

static void make_pipe(int *ends)
{
	if (pipe2(ends, O_CLOEXEC) < 0)
		note("FAILED", "pipe");
}

static void fill_with_zeros(int *ends)
{
	static const char zeros[4096];

	fcntl(ends[1], F_SETPIPE_SZ, sizeof(zeros));
	TRY("filled", write(ends[1], zeros, sizeof(zeros)));
}

/* sendfile(2) too moves bytes from a socket, if they go into a pipe. argument 1: they come later */
static void send_to_pipe(struct pair *pair, int later)
{
	int ends[2];
	off_t offset = 0;

	make_pipe(ends);
	if (later)
		later_put(SOON_MS, pair->a, "0123456789");
	else
		put(pair->a, "0123456789");
	if (!later)
		settle();
	TRY("sendfile", sendfile(ends[1], pair->b, NULL, 4));
	read_pipe("piped", ends[0]);
	TRY("sendfile64", sendfile64(ends[1], pair->b, NULL, 4096));
	read_pipe("piped-rest", ends[0]);
	TRY("offset", sendfile(ends[1], pair->b, &offset, 4));
	TRY("none", sendfile(ends[1], pair->b, NULL, 0));
	TRY("to-itself", sendfile(pair->a, pair->b, NULL, 4));
	TRY("back", sendfile(pair->a, ends[0], NULL, 4));
	fcntl(pair->b, F_SETFL, O_NONBLOCK);
	TRY("empty", sendfile(ends[1], pair->b, NULL, 4));
	fcntl(pair->b, F_SETFL, 0);
	round_trip("trip", pair);
	shutdown(pair->a, SHUT_WR);
	TRY("end", sendfile(ends[1], pair->b, NULL, 4));
}

/* All of a stream by sendfile(2), pieces of it waiting in both queues. */
static void send_stream_to_pipe(struct pair *pair, int bytes)
{
	char *all = malloc((size_t)bytes);
	int ends[2], done = 0;

	make_pipe(ends);
	put_bytes(pair->a, 5, 1);
	later_put_bytes(0, pair->a, (size_t)bytes - 5, 2);
	while (done < bytes) {
		ssize_t moved = sendfile(ends[1], pair->b, NULL, 65536);

		if (moved <= 0) {
			note_result("sendfile", moved, errno);
			break;
		}
		read_whole(ends[0], all + done, (size_t)moved);
		done += (int)moved;
	}
	note_data("data", all, done, 0);
	free(all);
}

/* A full pipe says so before the socket is looked at. argument 1: the pipe is O_NONBLOCK; 0: SPLICE_F_NONBLOCK */
static void full_while_empty(struct pair *pair, int by_flag)
{
	unsigned flags = by_flag ? 0 : SPLICE_F_NONBLOCK;
	int ends[2];

	make_pipe(ends);
	fill_with_zeros(ends);
	if (by_flag)
		fcntl(ends[1], F_SETFL, O_NONBLOCK);
	later_put(3 * SOON_MS, pair->a, "late");
	TRY("read-end", splice(pair->b, NULL, ends[0], NULL, 100, 0));
	TRY("full", splice(pair->b, NULL, ends[1], NULL, 100, flags));
	note_poll("nothing-yet", pair->b, POLLIN, 0);
	later_join();
	settle();
	TRY("full-data", splice(pair->b, NULL, ends[1], NULL, 100, flags));
	get("data", pair->b, 64, MSG_DONTWAIT);
}

/* So does one that nobody reads. */
static void no_reader_while_empty(struct pair *pair, int unused)
{
	int ends[2];

	(void)unused;
	make_pipe(ends);
	close(ends[0]);
	handle(SIGPIPE, 0);
	later_put(3 * SOON_MS, pair->a, "late");
	TRY("no-reader", splice(pair->b, NULL, ends[1], NULL, 100, 0));
	note("sigpipe", "%d", handled);
	note_poll("nothing-yet", pair->b, POLLIN, 0);
	later_join();
	settle();
	get("data", pair->b, 64, MSG_DONTWAIT);
}

/* A full pipe that is read after a while: the splice waits for room, then for data. */
static char sink[4096];
static void empty_pipe(void *fd)
{
	if (read(*(int *)fd, sink, sizeof(sink)) != sizeof(sink))
		note("FAILED", "reading the pipe");
}

static void waits_for_room(struct pair *pair, int unused)
{
	int ends[2];

	(void)unused;
	make_pipe(ends);
	fill_with_zeros(ends);
	later_call(SOON_MS, empty_pipe, &ends[0]);
	later_put(3 * SOON_MS, pair->a, "hello");
	TRY("splice", splice(pair->b, NULL, ends[1], NULL, 100, 0));
	later_join();
	read_pipe("piped", ends[0]);
}

/* 0 a reset, 1 one with bytes before it, 2 own SHUT_RD, 3 SO_RCVTIMEO, 4 the reset comes while it waits */
static void ends_of_splice(struct pair *pair, int how)
{
	struct timeval timeout = { .tv_usec = 100000 };
	uint64_t start_ms = clock_ms();
	int ends[2];

	make_pipe(ends);
	if (how == 1)
		put(pair->a, "before");
	if (how == 0 || how == 1 || how == 4)
		later_reset(how == 4 ? SOON_MS : 0, pair->a);
	else if (how == 2)
		shutdown(pair->b, SHUT_RD);
	else
		setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (how != 4)
		later_join();
	settle();
	TRY("splice", splice(pair->b, NULL, ends[1], NULL, 100, 0));
	if (how == 3)
		note_waited("waited", start_ms, 100);
	TRY("again", splice(pair->b, NULL, ends[1], NULL, 100, 0));
	read_pipe("piped", ends[0]);
	get("receive", pair->b, 64, MSG_DONTWAIT);
}

/* Pages that were given to a pipe go into the connection; and a tee of what a splice has brought. */
static void given_pages(struct pair *pair, int unused)
{
	static char page[8192] __attribute__((aligned(4096)));
	struct iovec vector = { page, sizeof(page) };
	int ends[2], copy[2];

	(void)unused;
	make_pipe(ends);
	make_pipe(copy);
	fill(page, sizeof(page), 9);
	TRY("vmsplice", vmsplice(ends[1], &vector, 1, SPLICE_F_GIFT));
	TRY("in", splice(ends[0], NULL, pair->a, NULL, sizeof(page), SPLICE_F_MOVE));
	drain("data", pair->b, sizeof(page));
	put(pair->a, "abc");
	put(pair->a, "defghijkl");
	settle();
	TRY("out", splice(pair->b, NULL, ends[1], NULL, 4096, 0));
	TRY("tee", tee(ends[0], copy[1], 7, 0));
	read_pipe("piped", ends[0]);
	read_pipe("copied", copy[0]);
	round_trip("trip", pair);
}

/* One of the two is a pipe, or the kernel says EINVAL, whatever waits on the socket; nothing is taken. */
/* A server that receives by splice or sendfile alone, from the first byte: the end joins at one of them. */
static void spliced_from_first(struct pair *pair, int by_sendfile)
{
	const struct timeval long_enough = { 2, 0 };
	int ends[2], good = 0;
	char bytes[64];

	pair_connect(pair);
	TRY("pipe", pipe(ends));
	TRY("timed", setsockopt(pair->a, SOL_SOCKET, SO_RCVTIMEO, &long_enough, sizeof(long_enough)));
	if (fork() == 0) {
		close(pair->a);
		for (;;) {
			ssize_t moved = by_sendfile ? sendfile(ends[1], pair->b, NULL, 65536)
						    : splice(pair->b, NULL, ends[1], NULL, 65536, 0);
			if (moved <= 0 || read(ends[0], bytes, (size_t)moved) != moved ||
			    write(pair->b, bytes, (size_t)moved) != moved)
				_exit(0);
		}
	}
	close(pair->b);
	pair->b = -1;
	for (int i = 0; i < 100; i++) {
		pause_ms(1); /* the other is asleep by then, or about to be */
		if (send(pair->a, bytes, sizeof(bytes), 0) == sizeof(bytes) &&
		    recv(pair->a, bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes))
			good++;
		else
			break;
	}
	note("good", "%d", good);
	shutdown(pair->a, SHUT_RDWR);
	wait(NULL);
}

/* What is written to a pipe of packets becomes packets, what is spliced does not. */
static void splice_of_packets(struct pair *pair, int by_sendfile)
{
	char sent[1000], text[100];
	int ends[2];
	ssize_t got = 0, bytes;

	memset(sent, 'x', sizeof(sent));
	TRY("pipe", pipe2(ends, O_DIRECT | O_NONBLOCK));
	TRY("send", send(pair->a, sent, sizeof(sent), 0));
	settle();
	TRY("out",
	    by_sendfile ? sendfile(ends[1], pair->b, NULL, 4096) : splice(pair->b, NULL, ends[1], NULL, 4096, 0));
	while ((bytes = read(ends[0], text, sizeof(text))) > 0)
		got += bytes;
	note("got", "%zd", got);
	round_trip("after", pair);
}

static void splice_without_pipe(struct pair *pair, int unused)
{
	int file = open("/dev/null", O_RDWR | O_CLOEXEC), ends[2];

	(void)unused;
	if (pipe(ends) != 0)
		note("FAILED", "pipe");
	put(pair->a, "hello");
	settle();
	TRY("to-file", splice(pair->b, NULL, file, NULL, 64, 0));
	TRY("from-file", splice(file, NULL, pair->b, NULL, 64, 0));
	TRY("to-socket", splice(pair->b, NULL, pair->a, NULL, 64, 0));
	TRY("to-closed", splice(pair->b, NULL, -1, NULL, 64, 0));
	TRY("from-closed", splice(-1, NULL, pair->b, NULL, 64, 0));
	TRY("nothing", splice(pair->b, NULL, ends[1], NULL, 0, 0));
	TRY("from-writing-end", splice(ends[1], NULL, pair->b, NULL, 64, SPLICE_F_NONBLOCK));
	get("receive", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
	later_reset(0, pair->a);
	later_join();
	settle();
	TRY("to-file-after", splice(pair->b, NULL, file, NULL, 64, 0));
	TRY("from-file-after", splice(file, NULL, pair->b, NULL, 64, 0));
	get("receive-after", pair->b, 64, MSG_DONTWAIT);
}

static const struct semantics_case cases[] = {
	{ "sendfile-to-pipe", send_to_pipe, 0, 0 },
	{ "sendfile-to-pipe-blocks", send_to_pipe, 1, 0 },
	{ "sendfile-to-pipe-stream", send_stream_to_pipe, 200000, 0 },
	{ "splice-out-full-while-empty", full_while_empty, 0, 0 },
	{ "splice-out-full-while-empty-pipe", full_while_empty, 1, 0 },
	{ "splice-out-no-reader-while-empty", no_reader_while_empty, 0, 0 },
	{ "splice-out-waits-for-room", waits_for_room, 0, 0 },
	{ "splice-out-reset", ends_of_splice, 0, 0 },
	{ "splice-out-reset-data", ends_of_splice, 1, 0 },
	{ "splice-out-own-shutdown", ends_of_splice, 2, 0 },
	{ "splice-out-rcvtimeo", ends_of_splice, 3, 0 },
	{ "splice-out-reset-while-blocked", ends_of_splice, 4, 0 },
	{ "splice-no-pipe", splice_without_pipe, 0, 0 },
	{ "splice-from-first", spliced_from_first, 0, CASE_BARE },
	{ "splice-from-first-sendfile", spliced_from_first, 1, CASE_BARE },
	{ "splice-packets", splice_of_packets, 0, 0 },
	{ "splice-packets-sendfile", splice_of_packets, 1, 0 },
	{ "splice-in-vmsplice-tee", given_pages, 0, 0 },
};
FAMILY(pipes);
