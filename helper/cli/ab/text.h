/* SPDX-License-Identifier: BSD-2-Clause */
/* Output of a process, kept as it came. */
#ifndef SMACCEL_CLI_AB_TEXT_H
#define SMACCEL_CLI_AB_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Output as it came, the last AB_TEXT_MAX bytes of it; `text` is NUL-terminated once anything came. */
#define AB_TEXT_MAX (16u << 20)
struct ab_text {
	char *text;
	size_t bytes, room;
	bool cut; /* the beginning is lost */
};
const char *ab_text(const struct ab_text *text); /* never NULL */
void ab_text_add(struct ab_text *text, const char *bytes, size_t count);

#define AB_LINE_BYTES 120
/* The last line that holds anything, cut at its beginning if it is too long. Returns `line`. */
const char *ab_text_last_line(const struct ab_text *text, char line[AB_LINE_BYTES]);

#endif
