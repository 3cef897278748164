/* SPDX-License-Identifier: BSD-2-Clause */
/* The registry (see registry.h): one struct registry_end in up to three uthash tables and two lists.
 *
 *   names    key -> list of ends. Several, because an offer is only a claim: anybody may claim any name, and must not
 *            be able to push out the one who really has it.
 *   cookies  cookie -> the joined end. Exact: cookies come from the kernel.
 *   owners   {session, cell} -> end.
 *
 * uthash is told not to exit when memory is short: it marks the element `lost` instead, and the caller is told -ENOMEM.
 */
#include <stddef.h>
#include <stdint.h>

#include "siphash.h"

/* The daemon's random one: keys are what clients claim, and must not be made to collide. */
static uint64_t hash_seed[2];

static uint32_t hash_bytes(const void *bytes, size_t count)
{
	uint64_t hash = siphash(hash_seed, bytes, count);

	return (uint32_t)(hash ^ hash >> 32);
}
#define HASH_FUNCTION(key, bytes, hash) ((hash) = hash_bytes((key), (bytes)))

#include "registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct registry_name {
	struct registry_key key;
	struct registry_end *ends;
	int lost;
	UT_hash_handle hh;
};

struct registry {
	struct registry_name *names;
	struct registry_end *cookies;
	struct registry_end *owners;
	size_t count;
};

#define OWNER_KEY_BYTES (sizeof(uint64_t) + sizeof(uint32_t))

/* ---- the tables ---- */

struct registry *registry_new(const uint64_t seed[2])
{
	if (!hash_seed[0] && !hash_seed[1])
		memcpy(hash_seed, seed, sizeof(hash_seed));
	return calloc(1, sizeof(struct registry));
}

void registry_free(struct registry *registry)
{
	struct registry_name *name, *next_name;
	struct registry_end *end, *next_end;

	if (!registry)
		return;
	HASH_CLEAR(hh_cookie, registry->cookies);
	HASH_CLEAR(hh_owner, registry->owners);
	HASH_ITER (hh, registry->names, name, next_name) {
		DL_FOREACH_SAFE2(name->ends, end, next_end, name_next)
		free(end);
		HASH_DEL(registry->names, name);
		free(name);
	}
	free(registry);
}

struct registry_key registry_key_mirror(const struct registry_key *key)
{
	return (struct registry_key){ .netns_cookie = key->netns_cookie, .local = key->remote, .remote = key->local };
}

bool registry_key_is_own_mirror(const struct registry_key *key)
{
	return !memcmp(&key->local, &key->remote, sizeof(key->local));
}

static struct registry_name *name_find(const struct registry *registry, const struct registry_key *key)
{
	struct registry_name *name;

	HASH_FIND(hh, registry->names, key, sizeof(*key), name);
	return name;
}

static struct registry_name *name_get(struct registry *registry, const struct registry_key *key)
{
	struct registry_name *name = name_find(registry, key);

	if (name)
		return name;
	name = calloc(1, sizeof(*name));
	if (!name)
		return NULL;
	name->key = *key;
	HASH_ADD(hh, registry->names, key, sizeof(name->key), name);
	if (name->lost) {
		free(name);
		return NULL;
	}
	return name;
}

static void name_attach(struct registry_name *name, struct registry_end *end)
{
	end->name = name;
	end->key = name->key;
	DL_APPEND2(name->ends, end, name_prev, name_next);
}

static void name_detach(struct registry *registry, struct registry_end *end)
{
	struct registry_name *name = end->name;

	DL_DELETE2(name->ends, end, name_prev, name_next);
	end->name = NULL;
	if (name->ends)
		return;
	HASH_DEL(registry->names, name);
	free(name);
}

static void name_release_if_empty(struct registry *registry, struct registry_name *name)
{
	if (name->ends)
		return;
	HASH_DEL(registry->names, name);
	free(name);
}

struct registry_end *registry_add(struct registry *registry, const struct registry_key *key,
				  struct registry_owner owner, struct registry_end **session_ends)
{
	struct registry_name *name = name_get(registry, key);
	struct registry_end *end;

	if (!name)
		return NULL;
	end = calloc(1, sizeof(*end));
	if (!end)
		goto out_name;
	end->owner.session_id = owner.session_id;
	end->owner.cell = owner.cell;
	end->state = END_OFFERED;
	if (owner.session_id) {
		HASH_ADD(hh_owner, registry->owners, owner, OWNER_KEY_BYTES, end);
		if (end->lost)
			goto out_end;
		DL_APPEND2(*session_ends, end, session_prev, session_next);
	}
	name_attach(name, end);
	registry->count++;
	return end;
out_end:
	free(end);
out_name:
	name_release_if_empty(registry, name);
	return NULL;
}

void registry_disown(struct registry *registry, struct registry_end *end, struct registry_end **session_ends)
{
	if (!end->owner.session_id)
		return;
	HASH_DELETE(hh_owner, registry->owners, end);
	DL_DELETE2(*session_ends, end, session_prev, session_next);
	end->owner = (struct registry_owner){ 0 };
}

void registry_remove(struct registry *registry, struct registry_end *end, struct registry_end **session_ends)
{
	registry_disown(registry, end, session_ends);
	if (end->state == END_JOINED)
		HASH_DELETE(hh_cookie, registry->cookies, end);
	name_detach(registry, end);
	registry->count--;
	free(end);
}

int registry_rename(struct registry *registry, struct registry_end *end, const struct registry_key *key)
{
	struct registry_name *name;

	if (!memcmp(&end->key, key, sizeof(*key)))
		return 0;
	name = name_get(registry, key);
	if (!name)
		return -ENOMEM;
	name_detach(registry, end);
	name_attach(name, end);
	return 0;
}

int registry_join(struct registry *registry, struct registry_end *end, uint64_t cookie, uint32_t slot, uint32_t side)
{
	if (registry_find_cookie(registry, cookie))
		return -EEXIST;
	end->cookie = cookie;
	end->lost = 0;
	HASH_ADD(hh_cookie, registry->cookies, cookie, sizeof(end->cookie), end);
	if (end->lost)
		return -ENOMEM;
	end->state = END_JOINED;
	end->slot = slot;
	end->side = side;
	return 0;
}

void registry_unjoin(struct registry *registry, struct registry_end *end)
{
	if (end->state != END_JOINED)
		return;
	HASH_DELETE(hh_cookie, registry->cookies, end);
	end->state = END_OFFERED;
}

struct registry_end *registry_find_owner(const struct registry *registry, struct registry_owner owner)
{
	struct registry_end *end;

	HASH_FIND(hh_owner, registry->owners, &owner, OWNER_KEY_BYTES, end);
	return end;
}

struct registry_end *registry_find_cookie(const struct registry *registry, uint64_t cookie)
{
	struct registry_end *end;

	HASH_FIND(hh_cookie, registry->cookies, &cookie, sizeof(cookie), end);
	return end;
}

struct registry_end *registry_first(const struct registry *registry, const struct registry_key *key)
{
	struct registry_name *name = name_find(registry, key);

	return name ? name->ends : NULL;
}

struct registry_end *registry_find_joined(const struct registry *registry, const struct registry_key *key)
{
	struct registry_end *end;

	for (end = registry_first(registry, key); end; end = end->name_next)
		if (end->state == END_JOINED)
			return end;
	return NULL;
}

void registry_each_peer(const struct registry *registry, const struct registry_key *key,
			void (*visit)(struct registry_end *peer, void *context), void *context)
{
	const struct registry_key mirror = registry_key_mirror(key);
	struct registry_end *end;

	for (end = registry_first(registry, &mirror); end; end = end->name_next)
		visit(end, context);
}

size_t registry_count(const struct registry *registry)
{
	return registry->count;
}
