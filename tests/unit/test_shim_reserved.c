/* SPDX-License-Identifier: BSD-2-Clause */
/* reserved.c: a place in its list that is taken anew shows, at no moment in between, the length of what was there before, which
 * mlockall() would lock or unlock beyond the new mapping. The processor stops after each instruction (TF), and a handler looks. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "../../helper/wire/room.h"
#include "../../preload/reserved.h"

#define LARGE_BYTES ((size_t)64 << 20)
#define SMALL_BYTES ((size_t)4096)
#define PIECE_BYTES ((size_t)256 << 10)
#define MANY 1024

static volatile sig_atomic_t looks, wrong, seen;

static void look(int number)
{
	char *begin, *end;

	(void)number;
	looks++;
	if (!reserved_at(0, &begin, &end))
		return;
	seen++;
	wrong += end - begin != 0 && (size_t)(end - begin) != SMALL_BYTES;
}

#ifdef __x86_64__
#define TRAP_FLAG 0x100L

/* Below the red zone. */
static inline __attribute__((always_inline)) void step_by_step(bool on)
{
	if (on)
		__asm__ volatile(
			"lea -128(%%rsp), %%rsp; pushfq; orq %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::"i"(TRAP_FLAG)
			: "memory", "cc");
	else
		__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::"i"(
					 ~TRAP_FLAG)
				 : "memory", "cc");
}
#else
static void step_by_step(bool on)
{
	(void)on;
}
#endif

static void test_reserved_place_taken_again(void **state)
{
	struct sigaction action = { .sa_handler = look };
	char *large = reserved_map(LARGE_BYTES, -1), *small, *begin, *end;

	(void)state;
	assert_non_null(large);
	assert_true(reserved_at(0, &begin, &end) && begin == large && (size_t)(end - begin) == LARGE_BYTES);
	reserved_unmap(large, LARGE_BYTES);
	assert_false(reserved_at(0, &begin, &end));
	assert_int_equal(reserved_bytes(), 0);
	assert_int_equal(sigaction(SIGTRAP, &action, NULL), 0);
	step_by_step(true);
	small = reserved_map(SMALL_BYTES, -1);
	step_by_step(false);
	assert_non_null(small);
	assert_true(reserved_at(0, &begin, &end) && begin == small);
	print_message("# %d looks, %d after it was there\n", (int)looks, (int)seen);
#ifdef __x86_64__
	assert_true(seen > 0 && looks > seen);
#endif
	assert_int_equal(wrong, 0);
	assert_int_equal(reserved_bytes(), SMALL_BYTES);
	reserved_unmap(small, SMALL_BYTES);
}

/* As the ledgers of a server that many processes talk to. What has no place in the list counts, too. */
static void test_reserved_share_of_many(void **state)
{
	struct rlimit before, limit;
	void *areas[MANY];
	size_t count = 0, allowed;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
	limit = before;
	limit.rlim_cur = (rlim_t)2 * MANY * PIECE_BYTES;
	allowed = limit.rlim_cur / ROOM_SHARE / PIECE_BYTES;
	assert_true(allowed > RESERVED_MAX && allowed < MANY);
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
	while (count < MANY && (areas[count] = reserved_map(PIECE_BYTES, -1)))
		count++;
	assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
	for (size_t i = 0; i < count; i++)
		reserved_unmap(areas[i], PIECE_BYTES);
	assert_int_equal(count, allowed);
	assert_int_equal(reserved_bytes(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_reserved_place_taken_again),
					    cmocka_unit_test(test_reserved_share_of_many) };

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
