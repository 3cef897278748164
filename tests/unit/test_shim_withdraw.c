/* SPDX-License-Identifier: BSD-2-Clause */
/* withdraw.c: the plain speed that lifecycle_window() measures on an end whose accounts are unsettled: the ledger of the stay that is
 * over is still attached and does not grow, what is sent by plain TCP is in the connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../preload/config.h"
#include "../../preload/ledger.h"
#include "../../preload/lifecycle.h"

#define WINDOW_BYTES 100000000u
#define WINDOWS_MAX 10000 /* a pause of this process begins a run anew */

static struct ledger_cell ledger;

static struct conn end_that_has_left(void)
{
	struct conn conn = { .state = CONN_LEFT, .generation = 1, .admission.is_unsettled = true };

	ledger_attach(&conn, &ledger, 0, 1);
	atomic_store(&ledger_own(&conn, &ledger)->sent, UINT64_C(1) << 40);
	return conn;
}

/* A window of sends of middle size. */
static void send_window(struct conn *conn)
{
	atomic_fetch_add(&conn->sent, WINDOW_BYTES);
	conn->admission.sends = conn->admission.worth_while = conn->admission.doubtful = ADMISSION_WINDOW_SENDS;
	lifecycle_window(conn);
}

static void test_withdraw_unsettled_end_is_measured_whole(void **state)
{
	struct conn conn = end_that_has_left();
	int windows = 0;

	(void)state;
	while (!conn.throughput.plain_rate && windows++ < WINDOWS_MAX)
		send_window(&conn);
	print_message("# %u bytes a us after %d windows\n", conn.throughput.plain_rate, windows);
	assert_int_not_equal(conn.throughput.plain_rate, 0);
	/* Without the connection's own account: 1, for no byte was moved. Windows take far less than 100 ms here. */
	assert_true(conn.throughput.plain_rate > WINDOW_BYTES / 100000);
	assert_int_equal(conn.admission.wants_out, 0);
}

/* The first window after the stay is not the stay's bytes. */
static void test_withdraw_bytes_of_the_stay_are_no_plain_bytes(void **state)
{
	struct conn conn = end_that_has_left();

	(void)state;
	send_window(&conn);
	assert_int_equal(conn.throughput.was_joined, false);
	assert_true(conn.throughput.bytes_before == (UINT64_C(1) << 40) + WINDOW_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_withdraw_unsettled_end_is_measured_whole),
		cmocka_unit_test(test_withdraw_bytes_of_the_stay_are_no_plain_bytes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
