/* SPDX-License-Identifier: BSD-2-Clause */
/* session_memory.c: how many sessions a process may have. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../helper/wire/latency.h"
#include "../../helper/wire/wire.h"
#include "../../preload/real.h"
#include "../../preload/session_memory.h"

#define MAPPINGS_MAX (4 * SESSIONS_MAX)

static unsigned count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned lines = 0;

	assert_non_null(maps);
	for (int c; (c = fgetc(maps)) != EOF;)
		lines += c == '\n';
	fclose(maps);
	return lines;
}

static void test_sessions_come_to_an_end(void **state)
{
	const struct wire_welcome welcome = { .memory_bytes = SESSION_BYTES, .cell_count = MEMORY_CELLS };
	uint32_t count = 0;

	(void)state;
	real_init();
	while (session_memory_has_place() && count < 2 * MAPPINGS_MAX) {
		int fd = memfd_create("session", MFD_CLOEXEC);

		assert_int_equal(ftruncate(fd, SESSION_BYTES), 0);
		struct session_memory *memory = session_memory_map_consume(&welcome, fd);
		assert_non_null(memory);
		assert_non_null(session_memory_cell(memory, 1));
		assert_non_null(session_memory_cell(memory, MEMORY_CELLS_FIRST));
		count++;
	}
	assert_int_equal(count, SESSIONS_MAX);
	assert_true(count_mappings() < MAPPINGS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions_come_to_an_end),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
