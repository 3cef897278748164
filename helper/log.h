/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's log: lines on stderr. */
#ifndef SMACCEL_HELPER_LOG_H
#define SMACCEL_HELPER_LOG_H

#include <stdbool.h>

extern bool log_verbose; /* --verbose; off by default, and then log_debug() costs a test */

void log_write(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line that is always written: what an administrator must see. Call it rarely; clients must not be able to cause it at will. */
#define log_error(...) log_write(__VA_ARGS__)

#define log_debug(...)                                                                                                 \
	do {                                                                                                           \
		if (__builtin_expect(log_verbose, 0))                                                                  \
			log_write(__VA_ARGS__);                                                                        \
	} while (0)

#endif
