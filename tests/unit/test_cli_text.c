/* SPDX-License-Identifier: BSD-2-Clause */
/* What the command line prints and puts in LD_PRELOAD: numbers for people, tables, values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../helper/cli/library.h"
#include "../../helper/cli/table.h"

static void test_table_formats_numbers(void **state)
{
	char buffer[TABLE_NUMBER_BYTES];

	(void)state;
	assert_string_equal(table_format_count(buffer, 0), "0");
	assert_string_equal(table_format_count(buffer, 999), "999");
	assert_string_equal(table_format_count(buffer, 1000), "1,000");
	assert_string_equal(table_format_count(buffer, UINT64_MAX), "18,446,744,073,709,551,615");
	assert_string_equal(table_format_bytes(buffer, 0), "0 B");
	assert_string_equal(table_format_bytes(buffer, 1023), "1023 B");
	assert_string_equal(table_format_bytes(buffer, 1024), "1.0 KiB");
	assert_string_equal(table_format_bytes(buffer, 1048575), "1.0 MiB"); /* not 1024.0 KiB */
	assert_string_equal(table_format_bytes(buffer, UINT64_MAX), "16384.0 PiB");
	assert_string_equal(table_format_seconds(buffer, 59), "59 s");
	assert_string_equal(table_format_seconds(buffer, 3600), "1 h 0 min");
	assert_string_equal(table_format_seconds(buffer, 200000), "2 d 7 h");
}

static void test_table_aligns_and_hides_control_characters(void **state)
{
	static const struct table_column columns[] = { { "NAME", TABLE_LEFT },
						       { "N", TABLE_RIGHT },
						       { "TEXT", TABLE_LEFT } };
	struct table *table = table_new(columns, 3);
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	(void)state;
	assert_int_equal(table_add(table, (const char *const[]){ "a", "1,000", "x\033[2Jy" }), 0);
	assert_int_equal(table_add(table, (const char *const[]){ "longer", "2", NULL }), 0);
	table_print(table, out);
	fclose(out);
	assert_string_equal(text, "NAME        N  TEXT\n"
				  "a       1,000  x?[2Jy\n"
				  "longer      2  -\n");
	free(text);
	table_free(table);
}

static void test_table_takes_many_rows(void **state)
{
	static const struct table_column column = { "N", TABLE_RIGHT };
	struct table *table = table_new(&column, 1);

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(table_add(table, (const char *const[]){ "row" }), 0);
	table_free(table);
	table_free(NULL);
}

static void check_preload(const char *current, const char *expected)
{
	char *value = library_preload_value(current, "/opt/lib/libsmaccel.so");

	assert_string_equal(value, expected);
	free(value);
}

static void test_library_preload_keeps_what_is_there(void **state)
{
	(void)state;
	check_preload(NULL, "/opt/lib/libsmaccel.so");
	check_preload("", "/opt/lib/libsmaccel.so");
	check_preload("libasan.so.8", "libasan.so.8:/opt/lib/libsmaccel.so");
	check_preload("a.so b.so", "a.so b.so:/opt/lib/libsmaccel.so");
	check_preload("libnotsmaccel.so", "libnotsmaccel.so:/opt/lib/libsmaccel.so"); /* ends alike, is another */
	check_preload("a.so:libsmaccel.so", "a.so:libsmaccel.so");
	check_preload("/x/libsmaccel.so b.so", "/x/libsmaccel.so b.so");
}

static void check_without(const char *current, const char *expected)
{
	char *value = library_preload_without(current);

	assert_string_equal(value, expected);
	free(value);
}

static void test_library_is_taken_out_of_preload(void **state)
{
	(void)state;
	check_without("", "");
	check_without("libsmaccel.so", "");
	check_without(" /opt/lib/libsmaccel.so:", "");
	check_without("a.so /opt/lib/libsmaccel.so:b.so libsmaccel.so", "a.so:b.so");
	check_without("libnotsmaccel.so", "libnotsmaccel.so");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_formats_numbers),
		cmocka_unit_test(test_table_aligns_and_hides_control_characters),
		cmocka_unit_test(test_table_takes_many_rows),
		cmocka_unit_test(test_library_preload_keeps_what_is_there),
		cmocka_unit_test(test_library_is_taken_out_of_preload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
