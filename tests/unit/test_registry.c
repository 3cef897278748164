/* SPDX-License-Identifier: BSD-2-Clause */
/* registry.c: ends are found by every name they have, several claims to one name live side by side, nothing is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../helper/registry.h"

static struct registry_end *session_ends; /* of the only session in most tests */

static struct registry_key make_key(uint64_t netns, uint16_t local, uint16_t remote)
{
	struct registry_key key;

	memset(&key, 0, sizeof(key));
	key.netns_cookie = netns;
	key.local.port_n = local;
	key.remote.port_n = remote;
	return key;
}

static struct registry_end *add(struct registry *registry, const struct registry_key *key, uint64_t session,
				uint32_t cell)
{
	const struct registry_owner owner = { .session_id = session, .cell = cell };

	return registry_add(registry, key, owner, &session_ends);
}

static int open_registry(void **state)
{
	const uint64_t seed[2] = { 0x0123456789abcdefull, 0xfedcba9876543210ull };

	session_ends = NULL;
	*state = registry_new(seed);
	return *state ? 0 : -1;
}

static int close_registry(void **state)
{
	registry_free(*state);
	return 0;
}

static void test_registry_finds_by_owner_and_key(void **state)
{
	struct registry *registry = *state;
	const struct registry_key key = make_key(1, 10, 20), other = make_key(2, 10, 20);
	struct registry_end *end = add(registry, &key, 5, 7);

	assert_non_null(end);
	assert_int_equal(end->state, END_OFFERED);
	assert_ptr_equal(registry_find_owner(registry, (struct registry_owner){ 5, 7 }), end);
	assert_null(registry_find_owner(registry, (struct registry_owner){ 5, 8 }));
	assert_null(registry_find_owner(registry, (struct registry_owner){ 6, 7 }));
	assert_ptr_equal(registry_first(registry, &key), end);
	assert_null(registry_first(registry, &other)); /* the same addresses in another namespace */
	assert_ptr_equal(session_ends, end);
	registry_remove(registry, end, &session_ends);
	assert_null(registry_first(registry, &key));
	assert_null(session_ends);
	assert_int_equal(registry_count(registry), 0);
}

static void test_registry_keeps_several_claims_to_a_name(void **state)
{
	struct registry *registry = *state;
	const struct registry_key key = make_key(1, 10, 20);
	struct registry_end *honest = add(registry, &key, 1, 1), *liar = add(registry, &key, 2, 1);

	assert_ptr_equal(registry_first(registry, &key), honest);
	assert_ptr_equal(honest->name_next, liar);
	assert_null(registry_find_joined(registry, &key));
	assert_int_equal(registry_join(registry, liar, 99, 3, 1), 0);
	assert_ptr_equal(registry_find_joined(registry, &key), liar);
	registry_remove(registry, honest, &session_ends);
	assert_ptr_equal(registry_first(registry, &key), liar);
}

static void test_registry_join_indexes_the_cookie(void **state)
{
	struct registry *registry = *state;
	const struct registry_key key = make_key(1, 10, 20), other = make_key(1, 11, 20);
	struct registry_end *end = add(registry, &key, 1, 1), *second = add(registry, &other, 1, 2);

	assert_null(registry_find_cookie(registry, 77));
	assert_int_equal(registry_join(registry, end, 77, 3, 1), 0);
	assert_ptr_equal(registry_find_cookie(registry, 77), end);
	assert_int_equal(end->slot, 3);
	assert_int_equal(end->side, 1);
	assert_int_equal(registry_join(registry, second, 77, 4, 0), -EEXIST);
	assert_int_equal(second->state, END_OFFERED);
	registry_unjoin(registry, end);
	assert_null(registry_find_cookie(registry, 77));
	assert_int_equal(registry_join(registry, second, 77, 4, 0), 0);
	registry_remove(registry, second, &session_ends);
	assert_null(registry_find_cookie(registry, 77));
}

static void test_registry_rename(void **state)
{
	struct registry *registry = *state;
	const struct registry_key claimed = make_key(1, 10, 20), real = make_key(2, 11, 21);
	struct registry_end *end = add(registry, &claimed, 1, 1);

	assert_int_equal(registry_rename(registry, end, &real), 0);
	assert_int_equal(registry_rename(registry, end, &real), 0);
	assert_null(registry_first(registry, &claimed));
	assert_ptr_equal(registry_first(registry, &real), end);
	assert_memory_equal(&end->key, &real, sizeof(real));
}

static void test_registry_disowned_end_is_found_by_cookie_and_key(void **state)
{
	struct registry *registry = *state;
	const struct registry_key key = make_key(1, 10, 20);
	struct registry_end *end = add(registry, &key, 1, 1);

	assert_int_equal(registry_join(registry, end, 5, 0, 0), 0);
	registry_disown(registry, end, &session_ends);
	registry_disown(registry, end, &session_ends);
	assert_null(session_ends);
	assert_null(registry_find_owner(registry, (struct registry_owner){ 1, 1 }));
	assert_null(registry_find_owner(registry, (struct registry_owner){ 0, 0 }));
	assert_ptr_equal(registry_find_cookie(registry, 5), end);
	assert_ptr_equal(registry_find_joined(registry, &key), end);
	registry_remove(registry, end, NULL);
	assert_int_equal(registry_count(registry), 0);
}

static void test_registry_mirror(void **state)
{
	const struct registry_key key = make_key(3, 10, 20), self = make_key(3, 10, 10);
	struct registry_key mirror = registry_key_mirror(&key);

	(void)state;
	assert_int_equal(mirror.netns_cookie, 3);
	assert_int_equal(mirror.local.port_n, 20);
	assert_int_equal(mirror.remote.port_n, 10);
	mirror = registry_key_mirror(&mirror);
	assert_memory_equal(&mirror, &key, sizeof(key));
	assert_false(registry_key_is_own_mirror(&key));
	assert_true(registry_key_is_own_mirror(&self));
}

static void count_peer(struct registry_end *peer, void *context)
{
	assert_int_equal(peer->key.local.port_n, 20);
	++*(int *)context;
}

static void test_registry_each_peer(void **state)
{
	struct registry *registry = *state;
	const struct registry_key key = make_key(1, 10, 20), peer = make_key(1, 20, 10), far = make_key(2, 20, 10);
	int count = 0;

	add(registry, &key, 1, 1);
	registry_each_peer(registry, &key, count_peer, &count);
	assert_int_equal(count, 0);
	add(registry, &peer, 1, 2);
	add(registry, &peer, 2, 2);
	add(registry, &far, 3, 2);
	registry_each_peer(registry, &key, count_peer, &count);
	assert_int_equal(count, 2);
}

static void test_registry_many_come_and_go(void **state)
{
	struct registry *registry = *state;
	const uint32_t many = 20000;

	for (uint32_t i = 1; i <= many; i++) {
		const struct registry_key key = make_key(i % 3, (uint16_t)i, (uint16_t)(i >> 4));
		struct registry_end *end = add(registry, &key, 1, i);

		assert_non_null(end);
		if (i & 1)
			assert_int_equal(registry_join(registry, end, i, i, i & 1), 0);
	}
	assert_int_equal(registry_count(registry), many);
	for (uint32_t i = 1; i <= many; i++) {
		struct registry_end *end = registry_find_owner(registry, (struct registry_owner){ 1, i });

		assert_non_null(end);
		assert_ptr_equal(registry_find_cookie(registry, i), i & 1 ? end : NULL);
		if (i % 3)
			registry_remove(registry, end, &session_ends);
	}
	assert_int_equal(registry_count(registry), many / 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registry_finds_by_owner_and_key, open_registry, close_registry),
		cmocka_unit_test_setup_teardown(test_registry_keeps_several_claims_to_a_name, open_registry,
						close_registry),
		cmocka_unit_test_setup_teardown(test_registry_join_indexes_the_cookie, open_registry, close_registry),
		cmocka_unit_test_setup_teardown(test_registry_rename, open_registry, close_registry),
		cmocka_unit_test_setup_teardown(test_registry_disowned_end_is_found_by_cookie_and_key, open_registry,
						close_registry),
		cmocka_unit_test(test_registry_mirror),
		cmocka_unit_test_setup_teardown(test_registry_each_peer, open_registry, close_registry),
		cmocka_unit_test_setup_teardown(test_registry_many_come_and_go, open_registry, close_registry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
