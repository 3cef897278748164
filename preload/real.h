/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions behind the wrappers: real_connect, real_recv, ... one for each line of intercept.def.
 *
 * They are resolved once, by the constructor. Before it ran (allocators, IFUNC resolvers, other constructors) the pointers
 * are NULL, and the wrappers take stubs that make the raw system call (REAL() in intercept.h), so that no wrapper ever
 * calls dlsym. Code that runs only on tracked connections may call real_NAME as it is.
 */
#ifndef SMACCEL_REAL_H
#define SMACCEL_REAL_H

/* Declares: extern RETURN (*real_NAME)(ARGUMENTS); */
#include "real_types.h" /* what the prototypes in intercept.def need */
#define INTERCEPT(ret, name, params, args) extern ret(*real_##name) params;
#include "intercept.def"
#undef INTERCEPT

void real_init(void); /* by the constructor, first of all */

#endif
