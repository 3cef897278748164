/* SPDX-License-Identifier: BSD-2-Clause */
/* A send that is cut short after another thread has taken its connection out of the ledger: what was announced is taken back from the
 * connection's own sum, and the place in the ledger, another connection's by now, is left alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../preload/ledger.h"
#include "../../preload/real.h"
#include "../../preload/transfer.h"
#include "../support/loopback.h"

#define BYTES 10
#define SENT_BEFORE 100
#define SENT_OF_ANOTHER 1000

enum meanwhile { NOTHING, TAKEN_OUT, CLOSED };

static int ends[2];
static struct conn *conn;
static struct ledger_cell cell;
static enum meanwhile meanwhile;

static int set_up(void **state)
{
	(void)state;
	real_init();
	int listener = loopback_listen("127.0.0.1", 0, 1, 0);
	ends[0] = loopback_connect("127.0.0.1", loopback_port(listener));
	ends[1] = accept(listener, NULL, NULL);
	close(listener);
	return ends[1] < 0 || conn_init() != 0 ? -1 : 0;
}

static ssize_t cut_short(const struct send_call *call)
{
	(void)call;
	if (meanwhile == NOTHING)
		return 1;
	ledger_detach(conn);
	if (meanwhile == CLOSED)
		atomic_fetch_add(&conn->generation, 1);
	atomic_store(&cell.half[0].sent, SENT_OF_ANOTHER);
	return 1;
}

/* Returns what the connection's own sum is afterwards. */
static uint64_t send_while(enum meanwhile what)
{
	char bytes[BYTES] = { 0 };
	struct iovec vector = { bytes, sizeof(bytes) };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	meanwhile = what;
	memset(&cell, 0, sizeof(cell));
	conn = conn_open(ends[0], false);
	assert_non_null(conn);
	conn_state_set(conn, CONN_ARMED, REASON_NONE);
	conn_touch(conn);
	conn->sent = SENT_BEFORE;
	ledger_attach(conn, &cell, 0, 1);
	assert_int_equal(transfer_send(conn, &(struct send_call){ .fd = ends[0],
								  .flags = MSG_NOSIGNAL,
								  .bytes = BYTES,
								  .message = &message,
								  .perform = cut_short,
								  .perform_quietly = cut_short }),
			 1);
	return conn->sent;
}

static void test_in_the_ledger(void **state)
{
	(void)state;
	assert_int_equal(send_while(NOTHING), 0);
	assert_int_equal(cell.half[0].sent, SENT_BEFORE + 1);
}

static void test_taken_out(void **state)
{
	(void)state;
	assert_int_equal(send_while(TAKEN_OUT), SENT_BEFORE + 1);
	assert_int_equal(cell.half[0].sent, SENT_OF_ANOTHER);
}

static void test_closed(void **state)
{
	(void)state;
	(void)send_while(CLOSED);
	assert_int_equal(cell.half[0].sent, SENT_OF_ANOTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_the_ledger),
		cmocka_unit_test(test_taken_out),
		cmocka_unit_test(test_closed),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("shim_accounts", tests, set_up, NULL);
}
