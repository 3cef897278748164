/* SPDX-License-Identifier: BSD-2-Clause */
/* A command line in one string into words. popt's own splitter drops empty words, which servers are given ("--save ''"). */
#include <stdlib.h>
#include <string.h>

#include "ab.h"

/* Copies one word to `out`, without its quotes, and ends it there. Returns what follows the word; NULL: a quote is open. */
static const char *copy_word(const char *text, char **out)
{
	char quote = '\0';

	for (; *text && (quote || !strchr(" \t\n", *text)); text++) {
		if (quote ? *text == quote : *text == '\'' || *text == '"') {
			quote = quote ? '\0' : *text;
			continue;
		}
		if (*text == '\\' && quote != '\'' && text[1])
			text++;
		*(*out)++ = *text;
	}
	*(*out)++ = '\0';
	return quote ? NULL : text;
}

const char *const *ab_split(const char *text)
{
	/* Words and their ends take no more than the text and one byte; there are at most half as many words as bytes. */
	size_t bytes = strlen(text) + 1;
	const char **words = calloc(bytes / 2 + 2, sizeof(*words));
	char *out = malloc(bytes + 1);
	size_t count = 0;

	if (!words || !out)
		goto fail;
	for (text += strspn(text, " \t\n"); *text; text += strspn(text, " \t\n")) {
		words[count++] = out;
		text = copy_word(text, &out);
		if (!text)
			goto fail_words;
	}
	if (!count)
		free(out);
	return words;
fail_words:
	out = (char *)words[0];
fail:
	free(out);
	free(words);
	return NULL;
}
