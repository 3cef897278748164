/* SPDX-License-Identifier: BSD-2-Clause */
/* The receive window of an end that is redirected to.
 *
 * The gate leaves room in the receive buffer for all that its window lets the peer pass (fact 12b). The window follows the
 * buffer, which grows while a stream goes by TCP, before the join or after a spill, or has the size that the application wants (SO_RCVBUF).
 * Once the buffer is as large as it can be, the window is all of it, no room is left, and nothing would be redirected ever
 * again. So a large one is clamped (TCP_WINDOW_CLAMP) as long as the end is in the sockhash. What it has promised it keeps: that much
 * passes, then the stream redirects.
 *
 * The kernel lifts the clamp when it enlarges the buffer (tcp_rcvbuf_grow); the next look finds that. At tcp_rmem[2] it stays.
 * What passes over loopback meanwhile is no slower: plain TCP with this clamp, writes of 64 and 256 KiB, blocking and not, one and two
 * CPUs: 0.97 to 1.05 of its throughput without.
 */
#ifndef SMACCEL_WINDOW_H
#define SMACCEL_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"

#define WINDOW_LOOK_BYTES (4u << 20) /* received between two looks: a millisecond or more */

/* `consumed`, of the ledger, before `bytes` more: whether it is time for a look. */
static inline bool window_look_is_due(uint64_t consumed, uint64_t bytes)
{
	return __builtin_expect((consumed ^ (consumed + bytes)) >= WINDOW_LOOK_BYTES, 0);
}

/* Clamps the window if it is large. fd is that connection's, or was a moment ago. Keeps errno. */
void window_look(struct conn *conn, int fd);
/* The end is plain TCP again, or all that it is sent passes: the clamp is what it was. Keeps errno. */
void window_restore(struct conn *conn, int fd);

/* The application has set the clamp itself: its own stays. */
void window_set_by_application(struct conn *conn);
static inline bool window_is_clamped(const struct conn *conn)
{
	return atomic_load_explicit(&((struct conn *)conn)->window_clamp, memory_order_relaxed) != 0;
}
/* What it is to be told, of one that is clamped, or was. Keeps errno. */
int window_told(struct conn *conn, int fd);

#endif
