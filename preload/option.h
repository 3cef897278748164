/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket options that a joined end cannot honour. */
#ifndef SMACCEL_OPTION_H
#define SMACCEL_OPTION_H

#include "../helper/wire/reason.h"

/* Asks the kernel for the options that the application may have set before the socket was tracked, or past the wrappers.
 * REASON_NONE, or why the socket must not join. Some 15 getsockopt calls: once, before joining. Keeps errno. */
enum sm_reason option_check(int fd);

#endif
