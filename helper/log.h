/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's log: lines on stderr. */
#ifndef SMACCEL_HELPER_LOG_H
#define SMACCEL_HELPER_LOG_H

#include <stdbool.h>

extern bool log_verbose; /* --verbose; off by default, and then log_debug() costs a test */

/* What a line that tells of an error begins with: "<3>" where standard error is the journal (sd-daemon(3)), else nothing. */
extern const char *log_error_mark;

/* Looks where standard error goes. */
void log_open(void);
void log_write(const char *mark, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Lines that are always written: what an administrator must see, and what one has done. Call them rarely; clients must not be able to cause
 * them at will. */
#define log_error(...) log_write(log_error_mark, __VA_ARGS__)
#define log_info(...) log_write("", __VA_ARGS__)

#define log_debug(...)                                                                                                 \
	do {                                                                                                           \
		if (__builtin_expect(log_verbose, 0))                                                                  \
			log_write("", __VA_ARGS__);                                                                    \
	} while (0)

#endif
