/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line and the configuration file. */
#ifndef SMACCEL_HELPER_OPTIONS_H
#define SMACCEL_HELPER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "policy.h"

#ifndef SMACCEL_VERSION
#define SMACCEL_VERSION "unknown"
#endif

struct options {
	char *socket_path; /* owned, as is pin_dir */
	char *pin_dir;
	bool verbose;
	bool test_no_order, test_no_memory, test_wait_for_locks;
	uint32_t test_bound_bytes;
	gid_t socket_group; /* that settings.socket_group names; -1: the helper's own */
	struct policy_settings settings;
};

enum options_result {
	OPTIONS_RUN = 0,
	OPTIONS_EXIT = 1, /* --help, --version: all is said */
};

/* enum options_result, or -errno with a line on stderr. */
int options_parse(struct options *options, int argc, const char **argv);
void options_free(struct options *options);

#endif
