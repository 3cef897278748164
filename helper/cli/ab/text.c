/* SPDX-License-Identifier: BSD-2-Clause */
/* Output of a process, kept as it came. */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *ab_text(const struct ab_text *text)
{
	return text->text ? text->text : "";
}

void ab_text_add(struct ab_text *text, const char *bytes, size_t count)
{
	if (text->bytes + count >= AB_TEXT_MAX) { /* what matters stands at the end */
		size_t kept = text->bytes / 2;

		memmove(text->text, text->text + text->bytes - kept, kept);
		text->bytes = kept;
		text->cut = true;
	}
	if (text->bytes + count + 1 > text->room) {
		size_t room = (text->bytes + count + 1) * 2;
		char *larger = realloc(text->text, room);

		if (!larger) {
			text->cut = true;
			return;
		}
		text->text = larger;
		text->room = room;
	}
	memcpy(text->text + text->bytes, bytes, count);
	text->bytes += count;
	text->text[text->bytes] = '\0';
}

static bool is_inside_character(char byte)
{
	return ((unsigned char)byte & 0xc0) == 0x80; /* of UTF-8 */
}

const char *ab_text_last_line(const struct ab_text *text, char line[AB_LINE_BYTES])
{
	const char *all = ab_text(text);
	size_t end = text->bytes, start;

	while (end && (all[end - 1] == '\n' || all[end - 1] == '\r' || all[end - 1] == ' '))
		end--;
	for (start = end; start && all[start - 1] != '\n' && end - start < AB_LINE_BYTES - 1;)
		start--;
	while (start && start < end && all[start - 1] != '\n' && is_inside_character(all[start]))
		start++; /* the cut is between characters */
	snprintf(line, AB_LINE_BYTES, "%.*s", (int)(end - start), all + start);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return line;
}
