/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory for what is larger than a caller's stack may be: a thread may have 16 KiB, a coroutine or a handler's stack less. */
#ifndef SMACCEL_SCRATCH_H
#define SMACCEL_SCRATCH_H

#include <stddef.h>

#define SCRATCH_BYTES 65536u

/* SCRATCH_BYTES that are the caller's until he gives them back, or NULL: others have them all. Of use in handlers, too; one that
 * jumps out of a call keeps what that had. */
char *scratch_take(void);
void scratch_give_back(char *memory); /* NULL: nothing */

/* A place for bytes that nobody wants, which all write to and nobody reads. */
#define NOWHERE_BYTES 8192u
extern char scratch_nowhere[NOWHERE_BYTES];

#endif
