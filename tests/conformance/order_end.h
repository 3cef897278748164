/* SPDX-License-Identifier: BSD-2-Clause */
/* order.c: one end of a connection under test, what it is to do, and what is said when it goes wrong.
 *
 * Everything about an end (style, reader, writer, sizes, pauses) follows from (seed, connection, side), so that two
 * processes agree on it without a word. Its reading half and its writing half may run in two threads: each uses only its
 * own fields, `failed` apart.
 */
#ifndef SMACCEL_TEST_ORDER_END_H
#define SMACCEL_TEST_ORDER_END_H

#include <stdatomic.h>
#include <sys/ioctl.h>

#include "../support/loopback.h"
#include "../support/pattern.h"
#include "../support/random.h"

#define READ_MAX (256u << 10)
#define LOCATE_SPAN (8u << 20)

enum style { STYLE_DUPLEX, STYLE_TURNS, STYLE_LOOP, STYLE_COUNT };
static const char *const style_names[STYLE_COUNT] = { "duplex", "turns", "loop" };

enum reader {
	READER_READ,
	READER_RECV,
	READER_READV,
	READER_RECVMSG,
	READER_POLL,
	READER_LEVEL,
	READER_EDGE,
	READER_EDGE_SHORT,
	READER_PEEK,
	READER_WAITALL,
	READER_COUNT
};
static const char *const reader_names[READER_COUNT] = { "read",  "recv", "readv",      "recvmsg", "poll",
							"level", "edge", "edge-short", "peek",    "waitall" };

enum writer { WRITER_WRITE, WRITER_WRITEV, WRITER_SENDMSG, WRITER_SENDFILE, WRITER_COUNT };
static const char *const writer_names[WRITER_COUNT] = { "write", "writev", "sendmsg", "sendfile" };

struct plan {
	const char *address;
	uint64_t seed;
	unsigned connections, concurrency, port, pause_max_us, deadline_s, rcvbuf_every;
	uint64_t bytes; /* of one direction of one connection */
	size_t write_max;
	unsigned styles, readers, writers; /* bit masks */
};

struct end {
	int fd, epoll_fd, file_fd;
	unsigned connection, side;
	enum style style;
	enum reader reader;
	enum writer writer;
	bool nonblocking;
	struct pattern out, in;
	uint64_t total;
	const struct plan *plan;
	/* the reading half */
	struct rng read_rng;
	unsigned char *read_buffer;
	_Atomic uint64_t received;
	bool readable, hung_up, mismatch;
	const char *_Atomic reading;
	/* the writing half */
	struct rng write_rng;
	unsigned char *write_buffer;
	_Atomic uint64_t sent;
	const char *_Atomic writing;
	_Atomic bool failed, finished;
};

static _Atomic uint64_t verified_bytes;
static _Atomic unsigned mismatch_count, error_count, finished_count;

static void end_describe(const struct end *end, const char *what)
{
	fprintf(stderr, "connection %u %s (%s, reader %s, writer %s, %s): %s; sent %llu received %llu of %llu\n",
		end->connection, end->side ? "server" : "client", style_names[end->style], reader_names[end->reader],
		writer_names[end->writer], end->nonblocking ? "non-blocking" : "blocking", what,
		(unsigned long long)end->sent, (unsigned long long)end->received, (unsigned long long)end->total);
}

static void end_fail(struct end *end, const char *call)
{
	char text[160];

	snprintf(text, sizeof(text), "FAILED %s: %s", call, strerror(errno));
	end_describe(end, text);
	error_count++;
	end->failed = true;
	shutdown(end->fd, SHUT_RDWR); /* the other half and the peer shall not wait for us */
}

/* For the dump at the deadline. Raw facts of the socket, as far as an ioctl and poll tell. */
static void end_dump(const struct end *end)
{
	struct pollfd state = { .fd = end->fd, .events = POLLIN | POLLOUT | POLLRDHUP };
	char text[200];
	int unread = -1, unsent = -1;

	ioctl(end->fd, FIONREAD, &unread);
	ioctl(end->fd, TIOCOUTQ, &unsent);
	poll(&state, 1, 0);
	snprintf(text, sizeof(text), "reading: %s, writing: %s; FIONREAD %d TIOCOUTQ %d%s%s%s%s", end->reading,
		 end->writing, unread, unsent, state.revents & POLLIN ? " POLLIN" : "",
		 state.revents & POLLOUT ? " POLLOUT" : "", state.revents & POLLRDHUP ? " RDHUP" : "",
		 state.revents & POLLERR ? " ERR" : "");
	end_describe(end, text);
}

static void end_mismatch(struct end *end, const unsigned char *bytes, size_t index, size_t length)
{
	uint64_t offset = end->received + index;
	char text[200], belongs[80] = "unknown bytes";
	int64_t where = -1;

	mismatch_count++;
	end->mismatch = true; /* what follows is read, no longer compared */
	if (length - index >= 16)
		where = pattern_locate(&end->in, offset, bytes + index, LOCATE_SPAN);
	if (where >= 0)
		snprintf(belongs, sizeof(belongs), "they belong at %lld (%+lld)", (long long)where,
			 (long long)where - (long long)offset);
	snprintf(text, sizeof(text), "MISMATCH at offset %llu in a read of %zu bytes: %s", (unsigned long long)offset,
		 length, belongs);
	end_describe(end, text);
}

/* Compares what stands at the stream's present offset; `consume` moves on. */
static void end_check(struct end *end, const unsigned char *bytes, size_t length, bool consume)
{
	ssize_t bad = end->mismatch ? -1 : pattern_verify(&end->in, end->received, bytes, length);

	if (bad >= 0)
		end_mismatch(end, bytes, (size_t)bad, length);
	if (consume) {
		end->received += length;
		verified_bytes += length;
	}
}

static unsigned pick(struct rng *rng, unsigned mask, unsigned count)
{
	unsigned choice;

	do
		choice = (unsigned)rng_below(rng, count);
	while (!(mask & 1u << choice));
	return choice;
}

static void end_pause(struct end *end, struct rng *rng, const char *_Atomic *doing)
{
	if (end->plan->pause_max_us && rng_below(rng, 64) == 0) {
		*doing = "pausing";
		pause_us(rng_below(rng, end->plan->pause_max_us));
	}
}

/* What an end is, from (seed, connection, side). The style belongs to both ends, so that turns meet turns. */
static void end_init(struct end *end, const struct plan *plan, unsigned connection, unsigned side)
{
	struct rng shared = rng_make(plan->seed, connection * 4), own = rng_make(plan->seed, connection * 4 + 1 + side);
	bool file[2];

	memset(end, 0, sizeof(*end));
	end->plan = plan;
	end->connection = connection;
	end->side = side;
	end->fd = end->epoll_fd = end->file_fd = -1;
	end->total = plan->bytes;
	end->reading = end->writing = "starting";
	end->style = (enum style)pick(&shared, plan->styles, STYLE_COUNT);
	for (unsigned i = 0; i < 2; i++) {
		struct rng writer_rng = rng_make(plan->seed ^ 0xf11e, connection * 2 + i);
		enum writer writer = (enum writer)pick(&writer_rng, plan->writers, WRITER_COUNT);

		file[i] = writer == WRITER_SENDFILE;
		if (i == side)
			end->writer = writer;
	}
	end->reader = (enum reader)pick(&own, plan->readers, READER_COUNT);
	if (end->style == STYLE_LOOP)
		end->reader = READER_EDGE;
	end->nonblocking = end->reader >= READER_LEVEL && end->reader <= READER_EDGE_SHORT;
	if (end->reader == READER_POLL)
		end->nonblocking = rng_below(&own, 2);
	end->out = pattern_make(plan->seed, connection, side, file[side] ? PATTERN_FILE_PERIOD : 0);
	end->in = pattern_make(plan->seed, connection, !side, file[!side] ? PATTERN_FILE_PERIOD : 0);
	end->read_rng = rng_make(plan->seed, connection * 4 + 0x10000000u + side);
	end->write_rng = rng_make(plan->seed, connection * 4 + 0x20000000u + side);
}

#endif
