/* SPDX-License-Identifier: BSD-2-Clause */
/* Policy: per-uid accounts, and the settings.
 *
 * An account exists as long as its user holds anything, so the table is no larger than the number of users present.
 * Every take has one give; giving more than was taken is a defect of the caller, and the account stays at zero.
 */
#include "policy.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define LIMIT_DOORS 4096
#define LIMIT_SESSIONS 4096
#define LIMIT_OFFERS 65536
#define OFFERS_OF_USERS 8 /* times that; 400 bytes each */
#define LIMIT_GROUPS 64
#define LIMIT_HISTOGRAMS 256 /* 224 KiB each at the very most */
#define LIMIT_LEAVES 1024
#define LONELY_MS 2000
#define SOCKET_MODE 0666 /* open to every local user: safe by the invariants */

struct account {
	uint32_t uid;
	int lost; /* could not be added to the table */
	uint32_t held[POLICY_KIND_COUNT];
	UT_hash_handle hh;
};

struct policy {
	struct policy_settings settings;
	uint32_t slot_count;
	struct account *accounts;
	uint32_t files, files_max;   /* of all users but root */
	uint64_t offers, offers_max; /* likewise */
};

static const uint8_t files_each[POLICY_KIND_COUNT] = { [POLICY_DOORS] = 1, [POLICY_SESSIONS] = 2 };

void policy_settings_init(struct policy_settings *settings)
{
	*settings = (struct policy_settings){
		.limit = { [POLICY_DOORS] = LIMIT_DOORS,
			   [POLICY_SESSIONS] = LIMIT_SESSIONS,
			   [POLICY_OFFERS] = LIMIT_OFFERS,
			   [POLICY_GROUPS] = LIMIT_GROUPS,
			   [POLICY_HISTOGRAMS] = LIMIT_HISTOGRAMS,
			   [POLICY_LEAVES] = LIMIT_LEAVES },
		.lonely_ms = LONELY_MS,
		.socket_mode = SOCKET_MODE,
	};
}

bool policy_settings_fit(struct policy_settings *settings, uint32_t files)
{
	const uint32_t doors_max = files / 4, sessions_max = files / 4; /* two files each */
	uint32_t *doors = &settings->limit[POLICY_DOORS], *sessions = &settings->limit[POLICY_SESSIONS];
	bool fits = *doors <= doors_max && *sessions <= sessions_max;

	*doors = *doors <= doors_max ? *doors : doors_max;
	*sessions = *sessions <= sessions_max ? *sessions : sessions_max;
	return fits;
}

uint32_t policy_files_of_users(uint32_t files)
{
	return files / 4 * 3;
}

static int parse_number(const char *text, int base, uint32_t minimum, uint32_t maximum, uint32_t *out)
{
	unsigned long number;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	number = strtoul(text, &end, base);
	if (*end || errno || number < minimum || number > maximum)
		return -EINVAL;
	*out = number;
	return 0;
}

/* ---- peers ---- */

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

/* ::/0 and the like do not mean IPv4. */
static bool network_has(const struct policy_network *network, const uint8_t address[16])
{
	bool is_mapped = !memcmp(address, mapped_prefix, sizeof(mapped_prefix));

	if (is_mapped && network->prefix_bits < 8 * sizeof(mapped_prefix))
		return false;
	unsigned whole = network->prefix_bits / 8, rest = network->prefix_bits % 8;

	return !memcmp(network->address, address, whole) &&
	       (!rest || !((network->address[whole] ^ address[whole]) >> (8 - rest)));
}

static bool is_loopback(const uint8_t address[16])
{
	static const uint8_t loopback[16] = { [15] = 1 };

	return !memcmp(address, loopback, sizeof(loopback)) ||
	       (!memcmp(address, mapped_prefix, sizeof(mapped_prefix)) && address[12] == 127);
}

static bool is_peer(const struct policy_settings *settings, const uint8_t address[16])
{
	for (uint32_t i = 0; i < settings->peer_count; i++)
		if (network_has(&settings->peers[i], address))
			return !is_loopback(address);
	return false;
}

bool policy_are_peers(const struct policy_settings *settings, const uint8_t local[16], const uint8_t remote[16])
{
	return memcmp(local, remote, 16) != 0 && is_peer(settings, local) && is_peer(settings, remote);
}

/* "10.0.0.0/24", "fd00::/8". Bits behind the prefix must be 0: else something else was meant. */
static int parse_network(char *text, struct policy_network *network)
{
	char *slash = strchr(text, '/');
	uint32_t bits, width;

	if (!slash)
		return -EINVAL;
	*slash = '\0';
	memset(network, 0, sizeof(*network));
	if (inet_pton(AF_INET, text, network->address + sizeof(mapped_prefix)) == 1) {
		memcpy(network->address, mapped_prefix, sizeof(mapped_prefix));
		width = 32;
	} else if (inet_pton(AF_INET6, text, network->address) == 1) {
		width = 128;
	} else {
		return -EINVAL;
	}
	if (parse_number(slash + 1, 10, 1, width, &bits))
		return -EINVAL;
	network->prefix_bits = (uint8_t)(128 - width + bits);
	for (unsigned bit = network->prefix_bits; bit < 128; bit++)
		if (network->address[bit / 8] & 0x80u >> bit % 8)
			return -EINVAL;
	return 0;
}

/* Adds to those of earlier lines. */
static int parse_peers(struct policy_settings *settings, const char *value)
{
	struct policy_settings grown = *settings;
	char words[POLICY_VALUE_BYTES], *rest = words, *word;

	if (!*value || strlen(value) >= sizeof(words))
		return -EINVAL;
	strcpy(words, value);
	while ((word = strsep(&rest, ", \t"))) {
		if (!*word)
			continue;
		if (grown.peer_count == POLICY_PEERS_MAX || parse_network(word, &grown.peers[grown.peer_count]))
			return -EINVAL;
		grown.peer_count++;
	}
	*settings = grown;
	return 0;
}

static const struct {
	struct policy_number number;
	size_t offset; /* of a uint32_t in the settings */
} number_settings[] = {
#define LIMIT(KIND) offsetof(struct policy_settings, limit[KIND])
	{ { "doors-per-user", 10, 1, 1u << 20 }, LIMIT(POLICY_DOORS) },
	{ { "sessions-per-user", 10, 1, 1u << 20 }, LIMIT(POLICY_SESSIONS) },
	{ { "offers-per-user", 10, 1, 1u << 24 }, LIMIT(POLICY_OFFERS) },
	{ { "slots-per-user", 10, 0, 1u << 22 }, LIMIT(POLICY_SLOTS) },
	{ { "groups-per-user", 10, 1, 1024 }, LIMIT(POLICY_GROUPS) },
	{ { "histograms-per-user", 10, 1, 1u << 16 }, LIMIT(POLICY_HISTOGRAMS) },
	{ { "slots", 10, 1, 1u << 22 }, offsetof(struct policy_settings, slot_count) },
	{ { "lonely-ms", 10, 1, 3600 * 1000 }, offsetof(struct policy_settings, lonely_ms) },
	{ { "socket-mode", 8, 0, 0777 }, offsetof(struct policy_settings, socket_mode) },
#undef LIMIT
};

#define NUMBER_COUNT (sizeof(number_settings) / sizeof(number_settings[0]))

const struct policy_number *policy_number_find(const char *name)
{
	for (size_t i = 0; i < NUMBER_COUNT; i++)
		if (!strcmp(name, number_settings[i].number.name))
			return &number_settings[i].number;
	return NULL;
}

static int settings_assign(struct policy_settings *settings, const char *name, const char *value)
{
	for (size_t i = 0; i < NUMBER_COUNT; i++) {
		const struct policy_number *number = &number_settings[i].number;

		if (!strcmp(name, number->name))
			return parse_number(value, number->base, number->minimum, number->maximum,
					    (uint32_t *)((char *)settings + number_settings[i].offset));
	}
	if (!strcmp(name, "peers"))
		return parse_peers(settings, value);
	if (!strcmp(name, "socket-group")) {
		if (!*value || strlen(value) >= sizeof(settings->socket_group))
			return -EINVAL;
		strcpy(settings->socket_group, value);
		return 0;
	}
	return -EINVAL;
}

/* Copies the part of `text` up to `end` without the blanks around it. */
static int copy_trimmed(char *out, size_t room, const char *text, const char *end)
{
	while (text < end && isspace((unsigned char)*text))
		text++;
	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	if ((size_t)(end - text) >= room)
		return -EINVAL;
	memcpy(out, text, end - text);
	out[end - text] = '\0';
	return 0;
}

int policy_settings_parse(struct policy_settings *settings, const char *line)
{
	char name[64], value[POLICY_VALUE_BYTES];
	const char *end = line + strcspn(line, "#\n");
	const char *equals = memchr(line, '=', end - line);

	if (!equals) {
		if (copy_trimmed(name, sizeof(name), line, end))
			return -EINVAL;
		return *name ? -EINVAL : 0;
	}
	if (copy_trimmed(name, sizeof(name), line, equals) || copy_trimmed(value, sizeof(value), equals + 1, end))
		return -EINVAL;
	return settings_assign(settings, name, value);
}

/* Beside those that have joined: slots are bounded by themselves. */
static uint64_t offers_of_users(uint32_t limit, uint32_t slot_count)
{
	return OFFERS_OF_USERS * (uint64_t)(limit > LIMIT_OFFERS ? limit : LIMIT_OFFERS) + 2 * (uint64_t)slot_count;
}

struct policy *policy_new(const struct policy_settings *settings, uint32_t slot_count)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return NULL;
	policy->settings = *settings;
	policy->slot_count = slot_count;
	policy->files_max = UINT32_MAX;
	policy->offers_max = offers_of_users(settings->limit[POLICY_OFFERS], slot_count);
	if (!policy->settings.limit[POLICY_SLOTS])
		policy->settings.limit[POLICY_SLOTS] = (slot_count + 1) / 2;
	return policy;
}

void policy_free(struct policy *policy)
{
	struct account *account, *next;

	if (!policy)
		return;
	HASH_ITER (hh, policy->accounts, account, next) {
		HASH_DEL(policy->accounts, account);
		free(account);
	}
	free(policy);
}

void policy_bound_files(struct policy *policy, uint32_t files)
{
	policy->files_max = files;
}

/* A person may be as many users as there are in a range of subordinate uids: a limit for each alone would be none. */
bool policy_has_files(const struct policy *policy, uint32_t uid, uint32_t more)
{
	return uid == 0 || (uint64_t)policy->files + more <= policy->files_max;
}

static struct account *account_find(const struct policy *policy, uint32_t uid)
{
	struct account *account;

	HASH_FIND(hh, policy->accounts, &uid, sizeof(uid), account);
	return account;
}

static struct account *account_make(struct policy *policy, uint32_t uid)
{
	struct account *account = calloc(1, sizeof(*account));

	if (!account)
		return NULL;
	account->uid = uid;
	HASH_ADD(hh, policy->accounts, uid, sizeof(uid), account);
	if (account->lost) {
		free(account);
		return NULL;
	}
	return account;
}

static uint32_t limit_of(const struct policy *policy, uint32_t uid, enum policy_kind kind)
{
	if (uid == 0 && kind == POLICY_SLOTS)
		return policy->slot_count;
	return policy->settings.limit[kind];
}

int policy_take(struct policy *policy, uint32_t uid, enum policy_kind kind)
{
	struct account *account = account_find(policy, uid);

	if (!account)
		account = account_make(policy, uid);
	if (!account)
		return -ENOMEM;
	if (account->held[kind] >= limit_of(policy, uid, kind))
		return -EDQUOT;
	if (uid && kind == POLICY_OFFERS && policy->offers >= policy->offers_max)
		return -EDQUOT;
	account->held[kind]++;
	policy->files += uid ? files_each[kind] : 0;
	policy->offers += uid && kind == POLICY_OFFERS;
	return 0;
}

void policy_give(struct policy *policy, uint32_t uid, enum policy_kind kind)
{
	struct account *account = account_find(policy, uid);
	uint32_t sum = 0;

	if (!account || !account->held[kind])
		return;
	account->held[kind]--;
	policy->files -= uid ? files_each[kind] : 0;
	policy->offers -= uid && kind == POLICY_OFFERS;
	for (int i = 0; i < POLICY_KIND_COUNT; i++)
		sum += account->held[i];
	if (sum)
		return;
	HASH_DEL(policy->accounts, account);
	free(account);
}

uint32_t policy_held(const struct policy *policy, uint32_t uid, enum policy_kind kind)
{
	const struct account *account = account_find(policy, uid);

	return account ? account->held[kind] : 0;
}
