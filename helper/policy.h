/* SPDX-License-Identifier: BSD-2-Clause */
/* Policy: what each user may hold at a time, and the settings of the configuration file. Pure: no I/O. */
#ifndef SMACCEL_HELPER_POLICY_H
#define SMACCEL_HELPER_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum policy_kind {
	POLICY_DOORS,    /* connections to the helper's socket */
	POLICY_SESSIONS, /* processes */
	POLICY_OFFERS,   /* entries of the registry, joined ends included */
	POLICY_SLOTS,    /* pairs */
	POLICY_GROUPS,   /* accounts of SMACCEL_GROUP */
	POLICY_HISTOGRAMS,
	POLICY_LEAVES, /* pairs that are to leave and are not drained yet; charged to who wants it */
	POLICY_KIND_COUNT
};

/* Addresses as in struct wire_endpoint: IPv4 is ::ffff:a.b.c.d. */
struct policy_network {
	uint8_t address[16];
	uint8_t prefix_bits; /* of 128 */
};
#define POLICY_PEERS_MAX 32u
#define POLICY_VALUE_BYTES 128u /* of one line, with the end */

/* What --config and the command line decide. */
struct policy_settings {
	uint32_t limit[POLICY_KIND_COUNT]; /* of each uid; POLICY_SLOTS 0: half of all slots */
	uint32_t slot_count;
	uint32_t lonely_ms;
	uint32_t socket_mode;  /* a mode_t */
	char socket_group[64]; /* empty: the helper's own */
	/* Networks whose addresses exist once on this host, whatever the network namespace: connections between two of
	 * them may be paired across namespaces. None by default. */
	struct policy_network peers[POLICY_PEERS_MAX];
	uint32_t peer_count;
};

void policy_settings_init(struct policy_settings *settings);
/* No user alone may use up what files there can be: a quarter by doors, half by sessions. False: less than the settings want. */
bool policy_settings_fit(struct policy_settings *settings, uint32_t files);
/* And all users but root together no more than three quarters: what is left is for the helper itself, for ledgers, replies, and root. */
uint32_t policy_files_of_users(uint32_t files);
/* One line of the configuration file: "name = value", a comment, or nothing. 0, or -EINVAL and nothing is changed. */
int policy_settings_parse(struct policy_settings *settings, const char *line);
/* A setting that is a number, and what it may be. */
struct policy_number {
	const char *name;
	int base;
	uint32_t minimum, maximum;
};
/* NULL: there is none of that name. */
const struct policy_number *policy_number_find(const char *name);

/* Whether both addresses are in such networks, and neither is a loopback address, nor both one and the same. */
bool policy_are_peers(const struct policy_settings *settings, const uint8_t local[16], const uint8_t remote[16]);

struct policy;

struct policy *policy_new(const struct policy_settings *settings, uint32_t slot_count); /* NULL: out of memory */
void policy_free(struct policy *policy);
/* How many files the doors (one each) and sessions (two each) of all users but root may have together; without it as many as they like. */
void policy_bound_files(struct policy *policy, uint32_t files);
/* Whether that user may have another `more`. Root may. */
bool policy_has_files(const struct policy *policy, uint32_t uid, uint32_t more);
/* Charges one of `kind` to uid. 0; -EDQUOT: the limit is reached; -ENOMEM. Root may hold every slot. All users but root together have
 * room for the offers of some of them only. */
int policy_take(struct policy *policy, uint32_t uid, enum policy_kind kind);
void policy_give(struct policy *policy, uint32_t uid, enum policy_kind kind);
uint32_t policy_held(const struct policy *policy, uint32_t uid, enum policy_kind kind);

#endif
