/* SPDX-License-Identifier: BSD-2-Clause */
/* withdraw.c: what an end is that has left; and the plain speed that lifecycle_window() measures on an end whose accounts are unsettled: the ledger of the stay that is
 * over is still attached and does not grow, what is sent by plain TCP is in the connection. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../preload/config.h"
#include "../../preload/fork.h"
#include "../../preload/ledger.h"
#include "../../preload/lifecycle_internal.h"
#include "../../preload/real.h"

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

/* Sends of so many bytes that find no room, until that counts. Returns why it wants out, or 0. */
static int wants_out_after_spills(uint64_t sent, size_t bytes)
{
	struct conn conn = { .state = CONN_ARMED, .generation = 1 };

	ledger_attach(&conn, &ledger, 0, 1);
	atomic_store(&ledger_own(&conn, &ledger)->sent, sent);
	atomic_store(&conn.sent, 1); /* more than TCP's count of no socket: all of it has passed */
	admission_send(&conn.admission, false, bytes);
	for (unsigned i = 0; i < ADMISSION_SPILLS_MAX; i++)
		lifecycle_spilled(&conn, -1);
	return conn.admission.wants_out;
}

static void test_withdraw_bulk_that_spills_is_judged_later(void **state)
{
	(void)state;
	assert_int_equal(wants_out_after_spills(1u << 20, ADMISSION_LARGE_BYTES), REASON_SPILLS);
	assert_int_equal(wants_out_after_spills(1u << 20, ADMISSION_HUGE_BYTES), 0);
	assert_int_equal(wants_out_after_spills(1u << 30, ADMISSION_HUGE_BYTES), REASON_SPILLS);
}

static const char one_thread = 1, several = 0;

static struct conn taken_out(const struct conn *start, enum conn_state before)
{
	struct memory_cell cell = { .status = CELL_TAKEN_OUT | CELL_ARMED };
	struct conn conn = *start;

	conn.state = before;
	conn.touched = 1;
	conn.generation = 1;
	conn.session_epoch = channel_epoch();
	lifecycle_taken_out(&conn, -1, &cell);
	return conn;
}

/* Its calls are as short as those of an end that never joined, if nobody else can be in one that began before, or join it again. */
static void test_withdraw_end_that_is_nobody_elses_is_as_new(void **state)
{
	struct conn alone = { .fds = 1, .fork_count = fork_count() }, conn;

	(void)state;
	hot.single_threaded = &one_thread;
	conn = taken_out(&alone, CONN_LEAVING);
	assert_int_equal(conn.state, CONN_LEFT);
	assert_int_equal(conn.touched, 0);
	conn = taken_out(&alone, CONN_ARMED); /* the peer wanted it, and may come again at once */
	assert_int_equal(conn.state, CONN_OFFERED);
	assert_int_equal(conn.touched, 1);

	struct conn others[] = { alone, alone, alone, alone, alone };
	others[0].fds = 2;
	others[1].fork_count--;
	others[2].given_away = 1;
	others[3].adopted = 1;
	others[4].owed_error = ECONNRESET;
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_int_equal(taken_out(&others[i], CONN_LEAVING).touched, 1);
	hot.single_threaded = &several;
	assert_int_equal(taken_out(&alone, CONN_LEAVING).touched, 1);
}

int main(void)
{
	real_init();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_withdraw_end_that_is_nobody_elses_is_as_new),
		cmocka_unit_test(test_withdraw_unsettled_end_is_measured_whole),
		cmocka_unit_test(test_withdraw_bulk_that_spills_is_judged_later),
		cmocka_unit_test(test_withdraw_bytes_of_the_stay_are_no_plain_bytes),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
