/* SPDX-License-Identifier: BSD-2-Clause */
/* Between a connection and other files: splice, tee, vmsplice, sendfile, copy_file_range. */
#include "semantics.h"

#include <sys/mman.h>
#include <sys/sendfile.h>

static void read_pipe(const char *field, int fd)
{
	char text[256];

	fcntl(fd, F_SETFL, O_NONBLOCK);
	GET(field, text, read(fd, text, sizeof(text)));
}

static void out(struct pair *pair, int flags)
{
	int ends[2];

	TRY("pipe", pipe2(ends, O_CLOEXEC));
	put(pair->a, "0123456789");
	settle();
	TRY("splice", splice(pair->b, NULL, ends[1], NULL, 4, (unsigned)flags));
	read_pipe("piped", ends[0]);
	TRY("splice-rest", splice(pair->b, NULL, ends[1], NULL, 4096, (unsigned)flags));
	read_pipe("piped-rest", ends[0]);
	round_trip("trip", pair);
}

/* SPLICE_F_NONBLOCK is about the pipe: the socket's O_NONBLOCK says whether to wait for data. */
static void out_nonblock_empty(struct pair *pair, int unused)
{
	int ends[2];

	(void)unused;
	TRY("pipe", pipe2(ends, O_CLOEXEC));
	later_put(SOON_MS, pair->a, "hello");
	TRY("splice", splice(pair->b, NULL, ends[1], NULL, 4096, SPLICE_F_NONBLOCK));
	read_pipe("piped", ends[0]);
}

static void out_blocks(struct pair *pair, int unused)
{
	int ends[2];

	(void)unused;
	TRY("pipe", pipe2(ends, O_CLOEXEC));
	later_put(SOON_MS, pair->a, "hello");
	TRY("splice", splice(pair->b, NULL, ends[1], NULL, 4096, 0));
	read_pipe("piped", ends[0]);
	fcntl(pair->b, F_SETFL, O_NONBLOCK);
	TRY("nonblocking", splice(pair->b, NULL, ends[1], NULL, 4096, 0));
	fcntl(pair->b, F_SETFL, 0);
	shutdown(pair->a, SHUT_WR);
	TRY("end", splice(pair->b, NULL, ends[1], NULL, 4096, 0));
}

static void out_interrupted(struct pair *pair, int flags)
{
	int ends[2];

	TRY("pipe", pipe2(ends, O_CLOEXEC));
	handle(SIGUSR1, flags);
	later_signal(SOON_MS, SIGUSR1);
	later_put(3 * SOON_MS, pair->a, "hello");
	TRY("splice", splice(pair->b, NULL, ends[1], NULL, 4096, 0));
	read_pipe("piped", ends[0]);
}

static void out_errors(struct pair *pair, int unused)
{
	int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	off64_t offset = 0;

	(void)unused;
	TRY("pipe", pipe2(ends, O_CLOEXEC));
	put(pair->a, "hello");
	settle();
	TRY("no-pipe", splice(pair->b, NULL, null, NULL, 100, 0));
	TRY("offset", splice(pair->b, &offset, ends[1], NULL, 100, 0));
	TRY("read-end", splice(pair->b, NULL, ends[0], NULL, 100, 0));
	TRY("none", splice(pair->b, NULL, ends[1], NULL, 0, 0));
	TRY("tee", tee(pair->b, ends[1], 100, 0));
	TRY("copy", copy_file_range(pair->b, NULL, null, NULL, 100, 0));
	TRY("sendfile-from", sendfile(null, pair->b, NULL, 100));
	get("data", pair->b, 64, MSG_DONTWAIT);
	put(pair->a, "hello");
	settle();
	TRY("flags", splice(pair->b, NULL, ends[1], NULL, 100, 0x1000));
	get("data-flags", pair->b, 64, MSG_DONTWAIT);
}

static void out_no_reader(struct pair *pair, int unused)
{
	int ends[2];

	(void)unused;
	TRY("pipe", pipe2(ends, O_CLOEXEC));
	close(ends[0]);
	handle(SIGPIPE, 0);
	put(pair->a, "hello");
	settle();
	TRY("no-reader", splice(pair->b, NULL, ends[1], NULL, 100, 0));
	note("sigpipe", "%d", handled);
	get("data", pair->b, 64, MSG_DONTWAIT);
}

/* A full pipe takes nothing; what was not taken is still there. */
static void out_full_pipe(struct pair *pair, int unused)
{
	int ends[2], moved;
	static char buffer[4096];

	(void)unused;
	TRY("pipe", pipe2(ends, O_CLOEXEC));
	TRY("size", fcntl(ends[1], F_SETPIPE_SZ, 4096));
	moved = (int)write(ends[1], buffer, 4096);
	note("filled", "%d", moved);
	put(pair->a, "hello");
	settle();
	TRY("full", splice(pair->b, NULL, ends[1], NULL, 100, SPLICE_F_NONBLOCK));
	moved = (int)read(ends[0], buffer, 4096);
	TRY("room", splice(pair->b, NULL, ends[1], NULL, 100, SPLICE_F_NONBLOCK));
	read_pipe("piped", ends[0]);
}

/* All that comes goes through a pipe, in a loop, while the sender goes on; then a tee. */
static void out_stream(struct pair *pair, int bytes)
{
	char *all = big_buffer((size_t)bytes);
	int ends[2], done = 0;

	TRY("pipe", pipe2(ends, O_CLOEXEC));
	later_put_bytes(0, pair->a, 5, 1);
	later_join();
	later_put_bytes(5, pair->a, (size_t)bytes - 5, 2);
	while (done < bytes) {
		ssize_t moved = splice(pair->b, NULL, ends[1], NULL, 65536, SPLICE_F_MOVE);

		if (moved <= 0) {
			note_result("splice", moved, errno);
			break;
		}
		read_whole(ends[0], all + done, (size_t)moved);
		done += (int)moved;
	}
	note_data("data", all, done, 0);
}

/* From one connection to another, as a proxy does. */
static void proxy(struct pair *pair, int unused)
{
	struct pair next;
	int ends[2], copy[2];

	(void)unused;
	pair_make(&next, true);
	TRY("pipe", pipe2(ends, O_CLOEXEC));
	TRY("pipe2", pipe2(copy, O_CLOEXEC));
	for (int i = 0; i < 3; i++) {
		put(pair->a, "proxied-message");
		settle();
		TRY("out", splice(pair->b, NULL, ends[1], NULL, 4096, SPLICE_F_NONBLOCK));
		TRY("tee", tee(ends[0], copy[1], 4096, SPLICE_F_NONBLOCK));
		TRY("in", splice(ends[0], NULL, next.a, NULL, 4096, i ? SPLICE_F_MORE : 0));
		if (i)
			set_int(next.a, IPPROTO_TCP, TCP_NODELAY, 1);
		get("arrived", next.b, 15, MSG_WAITALL);
		read_pipe("copy", copy[0]);
		fcntl(copy[0], F_SETFL, 0);
	}
}

static void in(struct pair *pair, int unused)
{
	int ends[2];
	struct iovec vector = { "vmspliced", 9 };

	(void)unused;
	TRY("pipe", pipe2(ends, O_CLOEXEC));
	TRY("write", write(ends[1], "0123456789", 10));
	TRY("splice", splice(ends[0], NULL, pair->a, NULL, 4, 0));
	TRY("splice-rest", splice(ends[0], NULL, pair->a, NULL, 4096, 0));
	TRY("vmsplice", vmsplice(ends[1], &vector, 1, 0));
	TRY("splice-vm", splice(ends[0], NULL, pair->a, NULL, 4096, 0));
	TRY("empty", splice(ends[0], NULL, pair->a, NULL, 4096, SPLICE_F_NONBLOCK));
	settle();
	get("arrived", pair->b, 64, MSG_DONTWAIT);
	close(ends[1]);
	TRY("pipe-end", splice(ends[0], NULL, pair->a, NULL, 4096, 0));
	shutdown(pair->a, SHUT_WR);
}

static int memory_file(size_t bytes)
{
	int fd = memfd_create("semantics", MFD_CLOEXEC);
	char *data = big_buffer(bytes);

	fill(data, bytes, 4);
	if (write(fd, data, bytes) != (ssize_t)bytes)
		note("FAILED", "memfd");
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void send_file(struct pair *pair, int bytes)
{
	int file = memory_file((size_t)bytes);
	off_t offset = 3;

	later_drain(0, "all", pair->b, (size_t)bytes);
	ssize_t sent = sendfile(pair->a, file, NULL, (size_t)bytes + 1000);
	note("sent-all", "%d", sent == bytes);
	TRY("at-end", sendfile(pair->a, file, NULL, 100));
	later_join();
	TRY("offset", sendfile(pair->a, file, &offset, 7));
	note("moved", "%ld", (long)offset);
	get("seven", pair->b, 7, MSG_WAITALL);
	note("position", "%s", lseek(file, 0, SEEK_CUR) == bytes ? "end" : "other");
	TRY("none", sendfile(pair->a, file, &offset, 0));
	TRY("bad-file", sendfile(pair->a, 4000, NULL, 10));
	TRY("bad-offset", sendfile(pair->a, file, (off_t *)8, 10));
	offset = -1;
	TRY("negative", sendfile(pair->a, file, &offset, 10));
	round_trip("trip", pair);
}

static void send_file_ends(struct pair *pair, int unused)
{
	int file = memory_file(100);
	off_t offset = 0;

	(void)unused;
	handle(SIGPIPE, SA_RESTART);
	shutdown(pair->a, SHUT_WR);
	TRY("after-shutdown", sendfile(pair->a, file, &offset, 100));
	note("sigpipe", "%d", handled);
	get("end", pair->b, 64, MSG_DONTWAIT);
}

/* A SIGPIPE that the program has blocked, and that waits for it, is not taken away. The file has less than is asked for. */
static void send_file_pending(struct pair *pair, int unused)
{
	int file = memory_file(100);
	sigset_t pipe_only, pending;

	(void)unused;
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_only, NULL);
	raise(SIGPIPE);
	TRY("sent", sendfile(pair->a, file, NULL, 1000));
	sigpending(&pending);
	note("sigpipe", "%s", sigismember(&pending, SIGPIPE) ? "waits" : "gone");
	get("arrived", pair->b, 100, MSG_WAITALL);
}

static void send_file_full(struct pair *pair, int unused)
{
	const size_t bytes = 32 << 20;
	int file = memory_file(bytes);
	off_t offset = 0;
	int full = 0;

	(void)unused;
	fcntl(pair->a, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 500 && full < 5 && offset < (off_t)bytes; i++) {
		full = sendfile(pair->a, file, &offset, bytes - (size_t)offset) < 0 ? full + 1 : 0;
		pause_ms(2);
	}
	note("bounded", "%d", full == 5);
	fcntl(pair->a, F_SETFL, 0);
	later_drain(0, "all", pair->b, bytes);
	while (offset < (off_t)bytes && sendfile(pair->a, file, &offset, bytes - (size_t)offset) > 0)
		;
	note("offset", "%ld", (long)offset);
	later_join();
}

static const struct semantics_case cases[] = {
	{ "splice-out", out, 0, 0 },
	{ "splice-out-nonblock", out, SPLICE_F_NONBLOCK, 0 },
	{ "splice-out-move", out, SPLICE_F_MOVE | SPLICE_F_MORE, 0 },
	{ "splice-out-blocks", out_blocks, 0, 0 },
	{ "splice-out-nonblock-empty", out_nonblock_empty, 0, 0 },
	{ "splice-out-signal", out_interrupted, 0, 0 },
	{ "splice-out-signal-restart", out_interrupted, SA_RESTART, 0 },
	{ "splice-out-errors", out_errors, 0, 0 },
	{ "splice-out-no-reader", out_no_reader, 0, 0 },
	{ "splice-out-full-pipe", out_full_pipe, 0, 0 },
	{ "splice-out-stream", out_stream, 200000, 0 },
	{ "splice-proxy-tee", proxy, 0, 0 },
	{ "splice-in", in, 0, 0 },
	{ "sendfile-small", send_file, 100, 0 },
	{ "sendfile-large", send_file, 500000, 0 },
	{ "sendfile-after-shutdown", send_file_ends, 0, 0 },
	{ "sendfile-signal-pending", send_file_pending, 0, 0 },
	{ "sendfile-full", send_file_full, 0, 0 },
};
FAMILY(files);
