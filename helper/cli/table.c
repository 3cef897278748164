/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of text with aligned columns, and numbers for people. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

struct table {
	const struct table_column *columns;
	size_t column_count;
	char **cells; /* row after row */
	size_t cell_count;
	size_t cell_room;
};

struct table *table_new(const struct table_column *columns, size_t count)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table) {
		table->columns = columns;
		table->column_count = count;
	}
	return table;
}

static char *printable_copy(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if (*c < ' ' || *c == 127) /* control characters, and bytes above 127 where char is signed */
			*c = '?';
	return copy;
}

int table_add(struct table *table, const char *const cells[])
{
	size_t wanted = table->cell_count + table->column_count;

	if (wanted > table->cell_room) {
		size_t room = table->cell_room ? table->cell_room * 2 : 64 * table->column_count;
		char **grown = realloc(table->cells, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		table->cells = grown;
		table->cell_room = room;
	}
	for (size_t i = 0; i < table->column_count; i++) {
		char *copy = printable_copy(cells[i] ? cells[i] : "-");

		if (!copy) {
			while (i--)
				free(table->cells[table->cell_count + i]);
			return -ENOMEM;
		}
		table->cells[table->cell_count + i] = copy;
	}
	table->cell_count = wanted;
	return 0;
}

static int column_width(const struct table *table, size_t column)
{
	size_t width = strlen(table->columns[column].title);

	for (size_t i = column; i < table->cell_count; i += table->column_count)
		if (strlen(table->cells[i]) > width)
			width = strlen(table->cells[i]);
	return (int)width;
}

static void print_cell(const struct table *table, size_t column, int width, const char *text, FILE *out)
{
	if (table->columns[column].align == TABLE_RIGHT)
		fprintf(out, "%*s", width, text);
	else if (column + 1 == table->column_count) /* no trailing blanks */
		fputs(text, out);
	else
		fprintf(out, "%-*s", width, text);
	fputs(column + 1 == table->column_count ? "\n" : "  ", out);
}

void table_print(const struct table *table, FILE *out)
{
	int *widths = calloc(table->column_count, sizeof(*widths)); /* without memory: unaligned */

	for (size_t column = 0; column < table->column_count; column++) {
		if (widths)
			widths[column] = column_width(table, column);
		print_cell(table, column, widths ? widths[column] : 0, table->columns[column].title, out);
	}
	for (size_t i = 0; i < table->cell_count; i++) {
		size_t column = i % table->column_count;

		print_cell(table, column, widths ? widths[column] : 0, table->cells[i], out);
	}
	free(widths);
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->cell_count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}

const char *table_format_count(char buffer[TABLE_NUMBER_BYTES], uint64_t count)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	char *out = buffer;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*out++ = ',';
		*out++ = digits[i];
	}
	*out = '\0';
	return buffer;
}

const char *table_format_bytes(char buffer[TABLE_NUMBER_BYTES], uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1023.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	snprintf(buffer, TABLE_NUMBER_BYTES, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buffer;
}

const char *table_format_seconds(char buffer[TABLE_NUMBER_BYTES], uint64_t seconds)
{
	uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;

	if (days)
		snprintf(buffer, TABLE_NUMBER_BYTES, "%" PRIu64 " d %" PRIu64 " h", days, hours % 24);
	else if (hours)
		snprintf(buffer, TABLE_NUMBER_BYTES, "%" PRIu64 " h %" PRIu64 " min", hours, minutes % 60);
	else if (minutes)
		snprintf(buffer, TABLE_NUMBER_BYTES, "%" PRIu64 " min %" PRIu64 " s", minutes, seconds % 60);
	else
		snprintf(buffer, TABLE_NUMBER_BYTES, "%" PRIu64 " s", seconds);
	return buffer;
}
