/* SPDX-License-Identifier: BSD-2-Clause */
/* Small histograms in text. */
#include <langinfo.h>
#include <locale.h>
#include <string.h>

#include "report.h"

#define HEIGHTS 8

static bool has_utf8(void)
{
	static int known = -1;

	if (known < 0) {
		locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0); /* numbers are still written the C way */

		known = locale && !strcmp(nl_langinfo_l(CODESET, locale), "UTF-8");
		if (locale)
			freelocale(locale);
	}
	return known;
}

void ab_bars_print(FILE *out, const unsigned *counts, size_t count, unsigned most)
{
	static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char letters[HEIGHTS + 1] = ".:-=+*#@";

	for (size_t i = 0; i < count; i++) {
		unsigned height = most ? (unsigned)((unsigned long)counts[i] * HEIGHTS / most) : 0;

		height = height < HEIGHTS ? height : HEIGHTS - 1;
		if (!counts[i])
			fputc(' ', out);
		else if (has_utf8())
			fputs(blocks[height], out);
		else
			fputc(letters[height], out);
	}
}
