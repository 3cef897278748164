/* SPDX-License-Identifier: BSD-2-Clause */
/* UTF-8 in texts that others wrote: JSON takes nothing else. */
#ifndef SMACCEL_CLI_UTF8_H
#define SMACCEL_CLI_UTF8_H

#include <stddef.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* How many bytes the character at `text` has, 1 to 4; 0: what stands there is none. `text` is not "". */
size_t utf8_length(const char *text);

/* Takes away what a cut in mid-character left at the end. */
void utf8_end_whole(char *text);

/* A copy in which each byte that belongs to no character is U+FFFD. malloc'ed; NULL without memory. */
char *utf8_repair(const char *text);

#endif
