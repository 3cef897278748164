/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket options that a joined end cannot honour, or whose receives have to know of. */
#ifndef SMACCEL_OPTION_H
#define SMACCEL_OPTION_H

#include <stdbool.h>

#include "../helper/wire/reason.h"
#include "conn.h"

/* Asks the kernel for the options that the application may have set before the socket was tracked, or past the wrappers.
 * REASON_NONE, or why the socket must not join. Some 15 getsockopt calls: for a helper that does not look by itself
 * (WIRE_FEATURE_OPTIONS). Keeps errno. */
enum sm_reason option_check(int fd);

/* Before it joins: notes in conn->options what is set by now. */
void option_ask(struct conn *conn, int fd);
/* One of these is about to be set, or taken off: called for setsockopt(2) however it is made, if it can be seen. Async-signal-safe. */
void option_may_change(int fd, int level, int name);

/* Whether it is one of these that a helper refused the join for. Then the socket was never in the sockhash. */
static inline bool option_is_reason(enum sm_reason reason)
{
	return reason == REASON_ZEROCOPY || reason == REASON_LOWAT || reason == REASON_OOB || reason == REASON_OPTION ||
	       reason == REASON_ULP;
}

#endif
