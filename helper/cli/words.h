/* SPDX-License-Identifier: BSD-2-Clause */
/* A text that is put together piece by piece in a buffer; what does not fit is cut off, between characters. */
#ifndef SMACCEL_CLI_WORDS_H
#define SMACCEL_CLI_WORDS_H

#include <stddef.h>

/* To the end of the text in `buffer`, which has `bytes` in all. */
__attribute__((format(printf, 3, 4))) void words_add(char *buffer, size_t bytes, const char *format, ...);

#endif
