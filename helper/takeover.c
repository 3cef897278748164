/* SPDX-License-Identifier: BSD-2-Clause */
/* Takeover: what an earlier helper left in the pinned maps.
 *
 * Armed pairs ran on all the while (fact 21) and go on, owned by nobody: they can be pinned, left and seen, and are
 * freed when their sockets are closed. Whatever was not armed is deleted, which is clean: nothing was redirected to it.
 */
#include <string.h>

#include "datapath.h"
#include "log.h"
#include "pairing_internal.h"

static void key_from_slot(struct registry_key *key, const struct sm_slot *shared, int side)
{
	const struct sm_end *own = &shared->end[side], *peer = &shared->end[!side];

	memset(key, 0, sizeof(*key));
	key->netns_cookie = shared->netns_cookie;
	memcpy(key->local.address, own->address, sizeof(key->local.address));
	memcpy(key->remote.address, peer->address, sizeof(key->remote.address));
	key->local.port_n = own->port_n;
	key->remote.port_n = peer->port_n;
}

static void adopt_end(struct helper *helper, struct slot *slot, int side)
{
	const struct registry_owner nobody = { 0 };
	struct sm_end *shared = &slot->shared->end[side];
	struct registry_end *end;
	struct registry_key key;

	if (!shared->cookie || !datapath_present(helper->datapath, shared->cookie)) {
		shared->cookie = 0;
		return;
	}
	key_from_slot(&key, slot->shared, side);
	end = registry_add(helper->registry, &key, nobody, NULL);
	if (!end)
		return; /* it runs on; only its slot is never freed */
	end->uid = shared->uid;
	end->pid = shared->pid;
	if (registry_join(helper->registry, end, shared->cookie, slot->index, side)) {
		registry_remove(helper->registry, end, NULL);
		return;
	}
	slot->end[side] = end;
}

static void delete_unarmed(struct helper *helper, struct slot *slot)
{
	for (int side = 0; side < SM_SIDES; side++)
		if (slot->shared->end[side].cookie)
			datapath_remove(helper->datapath, slot->shared->end[side].cookie);
}

void pairing_take_over(struct helper *helper)
{
	uint32_t armed = 0, deleted = 0;

	for (uint32_t i = 0; i < slots_count(helper->slots); i++) {
		const struct sm_slot *shared = slot_shared_at(helper->slots, i);
		struct slot *slot;

		if (shared->state == SM_SLOT_FREE)
			continue;
		slot = slot_adopt(helper->slots, i, shared->end[0].uid);
		if (shared->state == SM_SLOT_ARMED) {
			adopt_end(helper, slot, 0);
			adopt_end(helper, slot, 1);
			withdraw_look(slot);
		} else {
			delete_unarmed(helper, slot);
		}
		if (slot->end[0] || slot->end[1]) {
			armed++;
			continue;
		}
		slot_release(helper->slots, slot);
		deleted++;
	}
	if (armed || deleted)
		log_debug("taken over: %u armed pairs run on, %u slots freed", armed, deleted);
	if (armed)
		retire_sweep_start(helper);
}
