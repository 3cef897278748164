/* SPDX-License-Identifier: BSD-2-Clause */
/* The mark of a number that is being closed (conn.h) does not outlast that: under it, receives are cut short. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../preload/intercept.h"
#include "../../preload/real.h"

#define FD 5000
#define COPY 5001
#define OTHERS_FROM 6000
#define OTHERS_MAX 200000

static int set_up(void **state)
{
	(void)state;
	real_init();
	return conn_init();
}

static void open_joined(void)
{
	struct conn *conn = conn_open(FD, false);

	assert_non_null(conn);
	conn_touch(conn);
}

static void test_until_it_is_closed(void **state)
{
	(void)state;
	open_joined();
	assert_int_equal(intercept_flags_past(FD, MSG_WAITALL), MSG_WAITALL);
	conn_fd_drop(FD);
	assert_int_equal(intercept_flags_past(FD, MSG_WAITALL | MSG_PEEK), MSG_PEEK);
	conn_mark_closed(FD);
	assert_int_equal(conn_mark(FD), 0);
	conn_fd_drop(FD);
	assert_int_equal(conn_mark(FD), 0);
}

static void test_a_new_file_has_none(void **state)
{
	(void)state;
	open_joined();
	conn_fd_drop(FD);
	intercept_new_fd(FD);
	assert_int_equal(conn_mark(FD), 0);
}

static void test_nor_a_duplicate_of_one_that_is_closed_meanwhile(void **state)
{
	struct conn *conn;

	(void)state;
	open_joined();
	conn = conn_get(FD);
	conn_fd_drop(FD);
	assert_int_equal(conn_mark(FD), CONN_MARK_CLOSING);
	assert_false(conn_fd_copy(conn, FD, COPY));
	assert_null(conn_get(COPY));
	assert_int_equal(conn_mark(COPY), 0);
	open_joined(); /* the next connection, perhaps in the same place */
	assert_false(conn_get(FD) != conn && conn_fd_copy(conn, FD, COPY));
	conn_fd_drop(FD);
}

/* The last test: no connection is free afterwards. */
static void test_nor_one_that_cannot_be_tracked(void **state)
{
	int others = 0;

	(void)state;
	open_joined();
	assert_true(conn_fd_copy(conn_get(FD), FD, COPY));
	while (others < OTHERS_MAX && conn_open(OTHERS_FROM + others, false))
		others++;
	assert_in_range(others, 1000, OTHERS_MAX - 1);
	assert_null(conn_open(FD, false));
	assert_int_equal(conn_mark(FD), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_until_it_is_closed),
		cmocka_unit_test(test_a_new_file_has_none),
		cmocka_unit_test(test_nor_a_duplicate_of_one_that_is_closed_meanwhile),
		cmocka_unit_test(test_nor_one_that_cannot_be_tracked),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("shim_marks", tests, set_up, NULL);
}
