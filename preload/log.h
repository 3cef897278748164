/* SPDX-License-Identifier: BSD-2-Clause */
/* The shim's log: silent unless SMACCEL_LOG=LEVEL[:FILE]. No malloc, no stdio; one write(2) a line; errno kept. */
#ifndef SMACCEL_SHIM_LOG_H
#define SMACCEL_SHIM_LOG_H

enum log_level { LOG_LEVEL_OFF = 0, LOG_LEVEL_ERROR, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
extern enum log_level log_level;
void log_init(const char *setting); /* the value of SMACCEL_LOG, or NULL */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...)                                                                                                 \
	do {                                                                                                           \
		if (log_level >= LOG_LEVEL_ERROR)                                                                      \
			log_write(LOG_LEVEL_ERROR, __VA_ARGS__);                                                       \
	} while (0)
#define log_info(...)                                                                                                  \
	do {                                                                                                           \
		if (log_level >= LOG_LEVEL_INFO)                                                                       \
			log_write(LOG_LEVEL_INFO, __VA_ARGS__);                                                        \
	} while (0)
#define log_debug(...)                                                                                                 \
	do {                                                                                                           \
		if (log_level >= LOG_LEVEL_DEBUG)                                                                      \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                       \
	} while (0)

#endif
