/* SPDX-License-Identifier: BSD-2-Clause */
/* The shim's settings, read from the environment once by the constructor. */
#ifndef SMACCEL_SHIM_CONFIG_H
#define SMACCEL_SHIM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

struct config {
	bool off;           /* SMACCEL=off (also 0, no, false) */
	bool eager;         /* SMACCEL_ADMIT=eager */
	int64_t spin_ns;    /* SMACCEL_SPIN_US; 0: sleep at once */
	bool trusts_filter; /* SMACCEL_SECCOMP=trust: an inherited filter allows what smaccel(1) lists, and no more */
	bool trusts_filter_wholly; /* SMACCEL_SECCOMP=trust-all: and whatever else the shim does without a filter */
	bool never;                /* SMACCEL_ADMIT=never: watched like the others, but nothing is offered */
	bool learns;               /* SMACCEL_ADMIT=auto: destinations that do not pay need more turns */
	uint32_t admit_turns;      /* SMACCEL_ADMIT=N; auto: CONFIG_TURNS_DEFAULT */
	char socket_path[108];     /* SMACCEL_SOCKET */
	uint64_t group;            /* SMACCEL_GROUP=1 to 16 hex digits; 0: none */
};
#define CONFIG_TURNS_DEFAULT 8u
#define CONFIG_SPIN_US_MAX 10000u
extern struct config config;
void config_init(void);

#endif
