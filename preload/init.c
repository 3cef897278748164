/* SPDX-License-Identifier: BSD-2-Clause */
/* The constructor, and the order of initialisation.
 *
 * A preloaded library is the first in the search order, so that its constructor is the last but the program's own to run:
 * wrappers are called before. They are then raw system calls (real.c), and nothing is tracked, because there is no table of connections.
 *
 *	step                      why here
 *	real_init                 everything after it may call real_NAME
 *	clock_init                likewise, for what measures time
 *	log_init                  config_init complains about settings it cannot read
 *	config_init               SMACCEL=off ends it but for latency_init: every wrapper stays a pass-through for ever
 *	must_be_off               likewise, where /etc/ld.so.preload brought the library that LD_PRELOAD would not have
 *	quiet_inherited           a program under a filter likewise: what follows makes system calls that it may not allow
 *	latency_init              needs the settings; a store, which does no harm in a shim that is off: nobody looks there
 *	fork_init                 the pid must be known before the first connection is
 *	signals_init              reads the handlers that earlier constructors installed, of the signals that quiet_inherited found to have
 *	                          one: to ask for each of them costs 80 us; from here on the wrappers keep them current
 *	threads_init              registers for membarrier, before any thread can be inside a call on a connection
 *	intercept_exit_init       as early as can be: what is registered first runs last
 *	conn_init                 the table of connections is what turns the wrappers on
 *	lifecycle_adopt_inherited last: connections that this program was executed with need all the rest
 *
 * The door to the helper is opened by the first socket() or listen(), not here, but for such connections: most programs never use a socket.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/auxv.h>

#include "clock.h"
#include "config.h"
#include "conn.h"
#include "fork.h"
#include "intercept_exit.h"
#include "latency.h"
#include "lifecycle.h"
#include "log.h"
#include "quiet.h"
#include "real.h"
#include "signals.h"
#include "threads.h"

/* The one name that is no wrapper: by it a copy of the library finds out that another one comes before it. Each would take the other's
 * handlers of signals, and its marks, for the application's. The helper's own programs have that name, too: what they try the kernel with
 * must not join. */
extern const char smaccel_shim[] __attribute__((visibility("default")));
const char smaccel_shim[] = "libsmaccel";

/* Why, or NULL. */
static const char *must_be_off(void)
{
	/* In the program's order: by RTLD_DEFAULT a library that is linked with -Bsymbolic finds its own name first. */
	void *program = dlopen(NULL, RTLD_LAZY);
	const char *first = program ? dlsym(program, "smaccel_shim") : NULL;

	if (!first) /* it was opened by the program, which may ask for an error of its own call */
		(void)dlerror();
	if (first && first != smaccel_shim)
		return "another copy of this library is loaded already, or this is one of smaccel's own programs";
	return getauxval(AT_SECURE) ? "a setuid, setgid or file-capability program" : NULL;
}

static void leave_to_filter(enum quiet_inherited filter)
{
	if (filter == QUIET_NO_FILTER || config.trusts_filter_wholly)
		return;
	if (filter == QUIET_FILTER)
		log_info("under a filter of system calls: off (SMACCEL_SECCOMP=trust or trust-all says that it allows "
			 "what is needed)");
	else
		log_info("no /proc/self/status, which says whether system calls are filtered: off "
			 "(SMACCEL_SECCOMP=trust or trust-all says that what is needed is allowed)");
	config.off = true;
}

__attribute__((constructor)) static void shim_init(void)
{
	int saved = errno;
	const char *why;

	real_init();
	clock_init();
	log_init(secure_getenv("SMACCEL_LOG"));
	config_init();
	why = must_be_off();
	if (!config.off && why) {
		log_info("%s: off", why);
		config.off = true;
	}
	if (!config.off && !config.trusts_filter)
		leave_to_filter(quiet_inherited());
	latency_init();
	if (!config.off) {
		fork_init();
		signals_init(quiet_signals_caught());
		threads_init();
		intercept_exit_init();
		if (conn_init() == 0)
			lifecycle_adopt_inherited();
		else
			log_error("no room for the table of connections, or too much of what RLIMIT_AS and RLIMIT_DATA "
				  "allow: all stays plain TCP");
	}
	errno = saved;
}
