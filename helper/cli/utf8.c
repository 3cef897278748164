/* SPDX-License-Identifier: BSD-2-Clause */
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST 4u

/* By the first byte; 0: no character begins so. */
static size_t announced_length(unsigned char first)
{
	return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

size_t utf8_length(const char *text)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t length = announced_length(bytes[0]);

	for (size_t i = 1; i < length; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	/* The second byte also tells too long a form, a surrogate, and what is beyond U+10FFFF. */
	if ((bytes[0] == 0xe0 && bytes[1] < 0xa0) || (bytes[0] == 0xed && bytes[1] >= 0xa0) ||
	    (bytes[0] == 0xf0 && bytes[1] < 0x90) || (bytes[0] == 0xf4 && bytes[1] >= 0x90))
		return 0;
	return length;
}

void utf8_end_whole(char *text)
{
	size_t bytes = strlen(text);

	for (size_t tail = 1; tail < LONGEST && tail <= bytes; tail++) {
		unsigned char first = (unsigned char)text[bytes - tail];

		if ((first & 0xc0) == 0x80)
			continue;
		if (announced_length(first) > tail)
			text[bytes - tail] = '\0';
		return;
	}
}

char *utf8_repair(const char *text)
{
	const size_t replacement = sizeof(UTF8_REPLACEMENT) - 1;
	char *copy = malloc(strlen(text) * replacement + 1), *end = copy;

	if (!copy)
		return NULL;
	while (*text) {
		size_t length = utf8_length(text);

		end = length ? mempcpy(end, text, length) : mempcpy(end, UTF8_REPLACEMENT, replacement);
		text += length ? length : 1;
	}
	*end = '\0';
	return copy;
}
