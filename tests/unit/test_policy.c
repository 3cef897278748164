/* SPDX-License-Identifier: BSD-2-Clause */
/* policy.c: limits of each user, and the lines of the configuration file. */
#include <arpa/inet.h>
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

static void test_policy_users_leave_files_to_root(void **state)
{
	struct policy *policy = *state;
	uint32_t users = 0;

	policy_bound_files(policy, policy_files_of_users(40));
	while (policy_has_files(policy, ALICE + users, 2)) {
		assert_int_equal(policy_take(policy, ALICE + users, POLICY_SESSIONS), 0);
		assert_int_equal(policy_take(policy, 0, POLICY_DOORS), 0);
		users++;
	}
	assert_int_equal(users, 15);
	assert_false(policy_has_files(policy, ALICE, 1));
	assert_true(policy_has_files(policy, 0, 1000));
	policy_give(policy, ALICE, POLICY_SESSIONS);
	policy_give(policy, 0, POLICY_DOORS);
	assert_int_equal(policy_take(policy, ALICE, POLICY_DOORS), 0);
	assert_int_equal(policy_take(policy, ALICE, POLICY_OFFERS), 0);
	assert_true(policy_has_files(policy, BOB, 1));
	assert_false(policy_has_files(policy, BOB, 2));
}

static void test_policy_users_leave_memory_for_offers_to_root(void **state)
{
	const uint32_t users_max = 20;
	struct policy_settings settings;
	struct policy *policy = *state;
	uint32_t users = 0, held = 0;

	policy_settings_init(&settings);
	for (; users < users_max && policy_take(policy, ALICE + users, POLICY_OFFERS) == 0; users++)
		for (held++; policy_take(policy, ALICE + users, POLICY_OFFERS) == 0;)
			held++;
	assert_in_range(users, 8, users_max - 1);
	assert_int_equal(held, 8 * settings.limit[POLICY_OFFERS] + 2 * 10);
	assert_int_equal(policy_take(policy, 0, POLICY_OFFERS), 0);
	policy_give(policy, 0, POLICY_OFFERS);
	assert_int_equal(policy_take(policy, BOB + users_max, POLICY_OFFERS), -EDQUOT);
	policy_give(policy, ALICE, POLICY_OFFERS);
	assert_int_equal(policy_take(policy, BOB + users_max, POLICY_OFFERS), 0);
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

static bool are_peers(const struct policy_settings *settings, const char *local, const char *remote)
{
	uint8_t addresses[2][16] = { { [10] = 0xff, [11] = 0xff }, { [10] = 0xff, [11] = 0xff } };
	const char *const texts[2] = { local, remote };

	for (int i = 0; i < 2; i++)
		if (inet_pton(AF_INET, texts[i], addresses[i] + 12) != 1)
			assert_int_equal(inet_pton(AF_INET6, texts[i], addresses[i]), 1);
	return policy_are_peers(settings, addresses[0], addresses[1]);
}

static void test_peers(void **state)
{
	struct policy_settings settings;

	(void)state;
	policy_settings_init(&settings);
	assert_false(are_peers(&settings, "10.0.0.1", "10.0.0.2")); /* off by default */
	assert_int_equal(policy_settings_parse(&settings, "peers = 10.0.0.0/23, fd00:1::/64"), 0);
	assert_int_equal(policy_settings_parse(&settings, "peers = 127.0.0.0/8 ::/1 0.0.0.0/1"), 0); /* lines add up */
	assert_int_equal(settings.peer_count, 5);
	assert_true(are_peers(&settings, "10.0.0.1", "10.0.1.255"));
	assert_false(are_peers(&settings, "192.168.0.1", "10.0.0.1"));
	assert_false(are_peers(&settings, "10.0.0.1", "192.168.0.1"));
	assert_false(are_peers(&settings, "10.0.0.1", "10.0.0.1"));
	assert_true(are_peers(&settings, "fd00:1::1", "fd00:1::2"));
	assert_false(are_peers(&settings, "fd00:2::1", "fd00:1::2"));
	assert_false(are_peers(&settings, "127.0.0.1", "127.0.0.2")); /* whatever is configured */
	assert_false(are_peers(&settings, "127.0.0.1", "10.0.0.1"));
	assert_false(are_peers(&settings, "::1", "fd00:1::1"));
}

static void test_peers_refuse(void **state)
{
	static const char *const lines[] = { "peers =",
					     "peers = 10.0.0.0",
					     "peers = 10.0.0.0/33",
					     "peers = 10.0.0.1/24",
					     "peers = 10.0.0.0/0",
					     "peers = host/8",
					     "peers = fd00::/129",
					     "peers = 10.0.0.0/24 x",
					     "peers = 10.0.0/24" };
	struct policy_settings settings, before;

	(void)state;
	policy_settings_init(&settings);
	before = settings;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(policy_settings_parse(&settings, lines[i]), -EINVAL);
	assert_memory_equal(&settings, &before, sizeof(settings));
}

static void test_settings_fit_the_files_that_there_may_be(void **state)
{
	struct policy_settings settings, wanted;

	(void)state;
	policy_settings_init(&settings);
	wanted = settings;
	assert_true(policy_settings_fit(&settings, 1 << 20));
	assert_memory_equal(&settings, &wanted, sizeof(settings));
	assert_false(policy_settings_fit(&settings, 1024));
	assert_int_equal(settings.limit[POLICY_DOORS], 256);
	assert_int_equal(settings.limit[POLICY_SESSIONS], 256);
	assert_int_equal(settings.limit[POLICY_OFFERS], wanted.limit[POLICY_OFFERS]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_policy_limits_each_user_alone, open_policy, close_policy),
		cmocka_unit_test_setup_teardown(test_policy_root_may_hold_every_slot, open_policy, close_policy),
		cmocka_unit_test_setup_teardown(test_policy_give_without_take_is_harmless, open_policy, close_policy),
		cmocka_unit_test_setup_teardown(test_policy_users_leave_files_to_root, open_policy, close_policy),
		cmocka_unit_test_setup_teardown(test_policy_users_leave_memory_for_offers_to_root, open_policy,
						close_policy),
		cmocka_unit_test(test_settings_lines),
		cmocka_unit_test(test_settings_refuse),
		cmocka_unit_test(test_settings_fit_the_files_that_there_may_be),
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_peers_refuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
