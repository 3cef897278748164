/* SPDX-License-Identifier: BSD-2-Clause */
/* pthread_cancel: a process of one thread may cancel itself, and then each of its calls is a cancellation point, which only libc's own are
 * (direct.h). __libc_single_threaded may go on to say that there is one thread: where the program refers to it, as many in C++ do, it is
 * the program's copy, and pthread_cancel() of glibc 2.36 changes only its own.
 */
#include "hot.h"
#include "intercept.h"

int wrap_pthread_cancel(pthread_t thread)
{
	hot.direct = false;
	return REAL(pthread_cancel)(thread);
}
