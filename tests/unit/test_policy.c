/* SPDX-License-Identifier: BSD-2-Clause */
/* policy.c: limits of each user, and the lines of the configuration file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "../../helper/policy.h"

#define ALICE 1000
#define BOB 1001

static int open_policy(void **state)
{
	struct policy_settings settings;

	policy_settings_init(&settings);
	settings.limit[POLICY_SESSIONS] = 3;
	*state = policy_new(&settings, 10);
	return *state ? 0 : -1;
}

static int close_policy(void **state)
{
	policy_free(*state);
	return 0;
}

static void test_policy_limits_each_user_alone(void **state)
{
	struct policy *policy = *state;

	for (int i = 0; i < 3; i++)
		assert_int_equal(policy_take(policy, ALICE, POLICY_SESSIONS), 0);
	assert_int_equal(policy_take(policy, ALICE, POLICY_SESSIONS), -EDQUOT);
	assert_int_equal(policy_take(policy, BOB, POLICY_SESSIONS), 0);
	assert_int_equal(policy_take(policy, ALICE, POLICY_OFFERS), 0);
	policy_give(policy, ALICE, POLICY_SESSIONS);
	assert_int_equal(policy_take(policy, ALICE, POLICY_SESSIONS), 0);
	assert_int_equal(policy_held(policy, ALICE, POLICY_SESSIONS), 3);
	assert_int_equal(policy_held(policy, BOB, POLICY_SESSIONS), 1);
}

static void test_policy_root_may_hold_every_slot(void **state)
{
	struct policy *policy = *state;

	for (int i = 0; i < 5; i++)
		assert_int_equal(policy_take(policy, ALICE, POLICY_SLOTS), 0);
	assert_int_equal(policy_take(policy, ALICE, POLICY_SLOTS), -EDQUOT);
	for (int i = 0; i < 10; i++)
		assert_int_equal(policy_take(policy, 0, POLICY_SLOTS), 0);
	assert_int_equal(policy_take(policy, 0, POLICY_SLOTS), -EDQUOT);
}

static void test_policy_give_without_take_is_harmless(void **state)
{
	struct policy *policy = *state;

	policy_give(policy, BOB, POLICY_SLOTS);
	assert_int_equal(policy_take(policy, BOB, POLICY_OFFERS), 0);
	policy_give(policy, BOB, POLICY_SLOTS);
	assert_int_equal(policy_held(policy, BOB, POLICY_SLOTS), 0);
	assert_int_equal(policy_held(policy, BOB, POLICY_OFFERS), 1);
}

static void test_settings_lines(void **state)
{
	struct policy_settings settings;

	(void)state;
	policy_settings_init(&settings);
	assert_int_equal(policy_settings_parse(&settings, "\n"), 0);
	assert_int_equal(policy_settings_parse(&settings, "  # slots = 1\n"), 0);
	assert_int_equal(settings.slot_count, 0);
	assert_int_equal(policy_settings_parse(&settings, "slots=512 # of them\n"), 0);
	assert_int_equal(settings.slot_count, 512);
	assert_int_equal(policy_settings_parse(&settings, "\tsocket-mode =  0660\n"), 0);
	assert_int_equal(settings.socket_mode, 0660);
	assert_int_equal(policy_settings_parse(&settings, "socket-group = wheel"), 0);
	assert_string_equal(settings.socket_group, "wheel");
	assert_int_equal(policy_settings_parse(&settings, "lonely-ms = 5"), 0);
	assert_int_equal(settings.lonely_ms, 5);
	assert_int_equal(policy_settings_parse(&settings, "offers-per-user = 9"), 0);
	assert_int_equal(settings.limit[POLICY_OFFERS], 9);
}

static void test_settings_refuse(void **state)
{
	static const char *const lines[] = {
		"slots",
		"slots =",
		"slots = x",
		"slots = 0",
		"slots = 1x",
		"slots = -1",
		"slots = 99999999999999999999",
		"socket-mode = 0888",
		"socket-mode = 7777",
		"socket-group =",
		"no-such-thing = 1",
		"= 1",
		"lonely-ms = 0",
		"socket-group = a-group-name-that-is-longer-than-any-group-name-on-any-system-can-be",
	};
	struct policy_settings settings, before;

	(void)state;
	policy_settings_init(&settings);
	before = settings;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(policy_settings_parse(&settings, lines[i]), -EINVAL);
	assert_memory_equal(&settings, &before, sizeof(settings));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_policy_limits_each_user_alone, open_policy, close_policy),
		cmocka_unit_test_setup_teardown(test_policy_root_may_hold_every_slot, open_policy, close_policy),
		cmocka_unit_test_setup_teardown(test_policy_give_without_take_is_harmless, open_policy, close_policy),
		cmocka_unit_test(test_settings_lines),
		cmocka_unit_test(test_settings_refuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
