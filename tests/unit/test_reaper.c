/* SPDX-License-Identifier: BSD-2-Clause */
/* reaper.c without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop.h"
#include "reaper.h"

static unsigned to_fail; /* so many more calls: the last of them fails */

/* In the place of libc's, in the whole program. */
void *calloc(size_t count, size_t bytes)
{
	void *(*volatile fill)(void *, int, size_t) = memset; /* else the compiler makes a calloc() of these two */
	void *memory;

	if (to_fail && --to_fail == 0)
		return NULL;
	memory = malloc(count * bytes);
	return memory ? fill(memory, 0, count * bytes) : NULL;
}

static struct reaper_tag told;

static void done(void *context, const struct reaper_tag *tag)
{
	(void)context;
	told = *tag;
}

/* Neither for the job nor for its user. */
static void test_reaper_closes_without_memory(void **state)
{
	struct reaper *reaper;
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_open(&loop), 0);
	assert_int_equal(reaper_open(&reaper, loop, done, NULL), 0);
	for (unsigned call = 1; call <= 2; call++) {
		const struct reaper_tag tag = { .session_id = call, .cell = 2, .generation = 3 };
		int ends[2];

		assert_int_equal(pipe(ends), 0);
		to_fail = call;
		assert_int_equal(reaper_put(reaper, ends[0], 1000, &tag), 0);
		assert_int_equal(to_fail, 0);
		assert_int_equal(fcntl(ends[0], F_GETFD), -1);
		assert_int_equal(told.session_id, call);
		to_fail = call;
		assert_int_equal(reaper_put(reaper, ends[1], 1000, NULL), 0);
		assert_int_equal(fcntl(ends[1], F_GETFD), -1);
		assert_false(reaper_is_full(reaper, 1000));
		assert_int_equal(reaper_files_of_users(reaper), 0);
	}
	loop_close(loop);
	reaper_free(reaper);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reaper_closes_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
