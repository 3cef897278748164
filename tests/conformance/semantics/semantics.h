/* SPDX-License-Identifier: BSD-2-Clause */
/* The differential suite: cases that make calls on a connected pair and note what they see.
 *
 * What is noted must be the same each time over plain TCP: results, errno, bytes, events; of time only whether a limit
 * was kept. A case runs in a process of its own, under a deadline. test_semantics.py compares the notes between arms.
 */
#ifndef SMACCEL_SEMANTICS_H
#define SMACCEL_SEMANTICS_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "musl.h"

/* a connected to b's listener; b is the accepted end. Both blocking, both with TCP_NODELAY unless CASE_NAGLE. */
struct pair {
	int a, b;
};

enum case_flags {
	CASE_BARE = 1,  /* makes its own sockets: no pair, no warm-up */
	CASE_NAGLE = 2, /* without TCP_NODELAY */
};

struct semantics_case {
	const char *name;
	void (*run)(struct pair *pair, int argument); /* the argument tells cases of one function apart */
	int argument;
	unsigned flags;
};

struct family {
	const char *name;
	const struct semantics_case *cases;
	size_t count;
};

#define FAMILY(title) const struct family family_##title = { #title, cases, sizeof(cases) / sizeof(cases[0]) }
#define FAMILIES(X)                                                                                                    \
	X(blocking)                                                                                                    \
	X(timeouts)                                                                                                    \
	X(changes)                                                                                                     \
	X(stops)                                                                                                       \
	X(traps)                                                                                                       \
	X(signals)                                                                                                     \
	X(flags)                                                                                                       \
	X(truncate)                                                                                                    \
	X(oob)                                                                                                         \
	X(unread)                                                                                                      \
	X(epolls)                                                                                                      \
	X(polls)                                                                                                       \
	X(waits)                                                                                                       \
	X(vectors)                                                                                                     \
	X(faults)                                                                                                      \
	X(closing)                                                                                                     \
	X(resets)                                                                                                      \
	X(exits)                                                                                                       \
	X(options)                                                                                                     \
	X(edges)                                                                                                       \
	X(errqueue)                                                                                                    \
	X(inqs)                                                                                                        \
	X(files)                                                                                                       \
	X(pipes)                                                                                                       \
	X(connects)                                                                                                    \
	X(processes)                                                                                                   \
	X(forks)                                                                                                       \
	X(stdios)                                                                                                      \
	X(sends)                                                                                                       \
	X(lasting)                                                                                                     \
	X(held)                                                                                                        \
	X(pieces)                                                                                                      \
	X(threads)                                                                                                     \
	X(escapes)                                                                                                     \
	X(pending)                                                                                                     \
	X(bypasses)                                                                                                    \
	X(passing)                                                                                                     \
	X(odds)                                                                                                        \
	X(early)                                                                                                       \
	X(rings)                                                                                                       \
	X(dissolving)
#define DECLARE(title) extern const struct family family_##title;
FAMILIES(DECLARE)
#undef DECLARE

/* ---- notes (note.c) ---- */

/* One line "field value". Threads may note at the same time; a field's name should then say whose it is. */
void note(const char *field, const char *format, ...) __attribute__((format(printf, 2, 3)));
void note_result(const char *field, ssize_t result, int error);
void note_data(const char *field, const void *data, ssize_t bytes, int error);
void note_events(const char *field, int result, unsigned events, int error);
/* A call that succeeds leaves errno, which was 0, alone: noted where it does not. */
void note_errno(const char *field, ssize_t result, int error);
const char *errno_text(int error);

/* The value of the call, its result noted. */
#define TRY(field, call)                                                                                               \
	({                                                                                                             \
		errno = 0;                                                                                             \
		ssize_t try_result = (call);                                                                           \
		note_result(field, try_result, errno);                                                                 \
		note_errno(field, try_result, errno);                                                                  \
		try_result;                                                                                            \
	})
/* The same for a receive: the bytes too. */
#define GET(field, buffer, call)                                                                                       \
	({                                                                                                             \
		errno = 0;                                                                                             \
		ssize_t get_result = (call);                                                                           \
		note_data(field, buffer, get_result, errno);                                                           \
		note_errno(field, get_result, errno);                                                                  \
		get_result;                                                                                            \
	})
/* A receive into a scratch buffer. */
void get(const char *field, int fd, size_t bytes, int flags);
/* poll(2) of one fd. */
void note_poll(const char *field, int fd, short events, int timeout_ms);

/* ---- the pair and its traffic (pair.c) ---- */

void pair_connect(struct pair *pair); /* and no more: as it is after connect() and accept() */
bool pair_make(struct pair *pair, bool nodelay);
/* Pairs go back to plain TCP before a case gets them. */
extern bool pair_leaves;
/* They have been a stream of small writes from a to b, for which they have gone back, too. */
extern bool pair_streams;
/* They are made of IPv6. */
extern bool pair_is_ipv6, pair_is_unix;
struct any_address {
	socklen_t length;
	union {
		struct sockaddr any;
		struct sockaddr_in four;
		struct sockaddr_in6 six;
	};
};
/* A listener of the family that pairs are of. */
int pair_listen(struct any_address *address);
/* One-byte turns in both directions until both are redirected, or enough were made. True if they are. */
bool pair_warm_up(const struct pair *pair);
/* The socket a has connected anew, to this listener: the connection brings its own bytes alone. */
void pair_meet_anew(struct pair *pair, int listener);
int listen_any(uint16_t *port_h);
struct sockaddr_in loopback_at(uint16_t port_h);
/* Bytes that the peer sends, all of them; fails loudly. */
void put(int fd, const char *text);
void put_bytes(int fd, size_t bytes, unsigned seed);
/* Zeroed memory that stays until the process ends; of huge pages where it is large: faults are most of what the large cases cost. */
void *big_buffer(size_t bytes);
/* Position-coded bytes, and reading them until the end or `bytes`: notes how many came and their hash. */
void fill(void *buffer, size_t bytes, unsigned seed);
void drain(const char *field, int fd, size_t bytes);
/* So many bytes, of a pipe; fails loudly. */
void read_whole(int fd, char *out, size_t bytes);
/* Sends until nothing fits for 40 ms; returns how many bytes went in. errno: why it ended. */
uint64_t fill_pipe(int fd);
/* Both directions still carry data. */
void round_trip(const char *field, const struct pair *pair);
int set_int(int fd, int level, int name, int value);

/* ---- time (later.c) ---- */

#define SOON_MS 40
uint64_t clock_ms(void);
void pause_ms(unsigned ms);
/* What was sent has arrived, as far as loopback is concerned. */
void settle(void);
/* "yes" if at least `ms` passed since `start_ms`. */
void note_waited(const char *field, uint64_t start_ms, unsigned ms);

/* A thread, of any process, has gone to sleep, on a busy machine too; not waited for without bound, it may have other things to do. */
void wait_asleep(pid_t tid);

/* Something that another thread does in a while. later_join() waits for all of it. */
void later_put(unsigned ms, int fd, const char *text);
void later_put_bytes(unsigned ms, int fd, size_t bytes, unsigned seed);
void later_shutdown(unsigned ms, int fd, int how);
void later_close(unsigned ms, int fd);
void later_reset(unsigned ms, int fd);
void later_drain(unsigned ms, const char *field, int fd, size_t bytes);
void later_signal(unsigned ms, int number); /* to the thread that calls this */
void later_call(unsigned ms, void (*function)(void *), void *argument);
void later_join(void);
/* Whoever closes or resets shuts down its sending before. */
extern bool later_ends_first;

/* A handler that counts: *handled. `flags`: SA_RESTART or 0. */
extern volatile sig_atomic_t handled;
void handle(int number, int flags);

#endif
