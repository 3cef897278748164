/* SPDX-License-Identifier: BSD-2-Clause */
/* Where libsmaccel.so is, and the LD_PRELOAD that loads it. */
#ifndef SMACCEL_CLI_LIBRARY_H
#define SMACCEL_CLI_LIBRARY_H

#include <stdbool.h>

#define LIBRARY_PATH_BYTES 4096

/* SMACCEL_LIBRARY, else next to this program, else in the lib folders beside its bin folder, else where it was to be
 * installed. Absolute. 0; -ENOENT; -EINVAL: the path has a blank or a colon, which LD_PRELOAD cannot express. */
int library_find(char path[LIBRARY_PATH_BYTES]);

/* Whether a value of LD_PRELOAD names a libsmaccel.so. */
bool library_is_named(const char *list);

/* The value for LD_PRELOAD: what is there (`current`, may be NULL), then the library: whatever must come first (a
 * sanitizer's runtime) stays first. malloc'ed; NULL without memory. */
char *library_preload_value(const char *current, const char *path);
/* The value without the library, whatever else is in it; "" if nothing is. malloc'ed; NULL without memory. */
char *library_preload_without(const char *current);

#endif
