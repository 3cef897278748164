/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocking sends that are long, or have a time-out: see transfer_long.c. */
#ifndef SMACCEL_TRANSFER_LONG_H
#define SMACCEL_TRANSFER_LONG_H

#include "transfer_internal.h"

#define TRANSFER_LONG_BYTES ((size_t)64 << 10)

/* True: has made the send, accounts included; the whole call's result, with errno. The caller is inside (transfer_enter()). */
bool transfer_send_parts(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
			 uint32_t generation, ssize_t *result_out);

/* False: it is to be made as it is. */
static inline bool transfer_send_long(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
				      uint32_t generation, ssize_t *result_out)
{
	bool may_wait_twice = call->bytes >= TRANSFER_CUT_SHORT_BYTES && conn_has_option(conn, CONN_SENDS_TIME_OUT);

	return __builtin_expect(call->bytes > TRANSFER_LONG_BYTES || may_wait_twice, 0) && conn_is_joined(conn) &&
	       transfer_send_parts(conn, call, ledger, generation, result_out);
}

#endif
