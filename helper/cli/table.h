/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of text with aligned columns, and numbers for people. */
#ifndef SMACCEL_CLI_TABLE_H
#define SMACCEL_CLI_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct table_column {
	const char *title;
	enum { TABLE_LEFT, TABLE_RIGHT } align;
};

struct table;

/* `columns` must outlive the table. NULL: out of memory. */
struct table *table_new(const struct table_column *columns, size_t count);
/* Copies one string a column. What is not printable becomes '?': names come from other users' processes. 0 or -ENOMEM. */
int table_add(struct table *table, const char *const cells[]);
void table_print(const struct table *table, FILE *out);
void table_free(struct table *table);

#define TABLE_NUMBER_BYTES 32
/* "1,234,567"; "1.2 MiB"; "3 h 12 min". Return `buffer`. */
const char *table_format_count(char buffer[TABLE_NUMBER_BYTES], uint64_t count);
const char *table_format_bytes(char buffer[TABLE_NUMBER_BYTES], uint64_t bytes);
const char *table_format_seconds(char buffer[TABLE_NUMBER_BYTES], uint64_t seconds);

#endif
