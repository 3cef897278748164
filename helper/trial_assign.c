/* SPDX-License-Identifier: BSD-2-Clause */
/* Which arm a pair is in, and what pairing asks and tells about it: see trial.h.
 *
 * The arm is kept in each end and shown in its cell, where the shim reads it for each latency. Only what happens after that
 * counts: the cell's own figures are set back when the arm is. A pair that was armed before the trial, and is to be plain,
 * is in no arm until it has left the sockhash.
 */
#include "helper.h"
#include "pairing_internal.h"
#include "siphash.h"
#include "trial_internal.h"

/* ---- which arm ---- */

static bool selects_comm(const struct trials *trials, const struct registry_end *end)
{
	const struct session *session = session_find(trials->helper->sessions, end->owner.session_id);

	return session && !strncmp(session->comm, trials->settings.comm, sizeof(trials->settings.comm) - 1);
}

bool trial_selects(const struct trials *trials, const struct registry_end *a, const struct registry_end *b)
{
	const struct wire_trial *settings = &trials->settings;
	uint16_t port_n = __builtin_bswap16(settings->port_h);

	if (port_n && a->key.local.port_n != port_n && b->key.local.port_n != port_n)
		return false;
	if (settings->uid != WIRE_TRIAL_ANY_UID && a->uid != settings->uid && b->uid != settings->uid)
		return false;
	return !*settings->comm || selects_comm(trials, a) || selects_comm(trials, b);
}

static enum latency_arm decide(const struct trials *trials, const struct registry_end *a, const struct registry_end *b)
{
	const uint64_t cookies[2] = { a->cookie < b->cookie ? a->cookie : b->cookie,
				      a->cookie < b->cookie ? b->cookie : a->cookie };
	uint64_t hash = siphash(trials->key, cookies, sizeof(cookies));

	return hash % 10000 < trials->settings.accelerated_permyriad ? LATENCY_ACCELERATED : LATENCY_PLAIN;
}

/* ---- ends ---- */

static struct memory_cell *cell_of(struct helper *helper, const struct registry_end *end)
{
	struct session *session = session_find(helper->sessions, end->owner.session_id);
	struct memory_cell *cell = session ? session_cell(session, end->owner.cell) : NULL;

	return cell && cell_word_generation(atomic_load(&cell->status)) == end->generation ? cell : NULL;
}

static void show_arm(struct helper *helper, const struct registry_end *end, uint32_t bit)
{
	struct memory_cell *cell = cell_of(helper, end);

	if (cell && (atomic_load(&cell->status) & TRIAL_ARM_BITS) != bit)
		atomic_store(&cell->latency_key, 0); /* figures of another arm are void; it may have been here before */
	pairing_notify(helper, end, TRIAL_ARM_BITS & ~bit, bit);
}

static bool end_has_arm(const struct trials *trials, const struct registry_end *end)
{
	return end->trial == trials->number && end->arm != LATENCY_ALL;
}

static void end_set_arm(struct trials *trials, struct registry_end *end, enum latency_arm arm)
{
	end->trial = trials->number;
	end->arm = (uint8_t)arm;
	show_arm(trials->helper, end, arm == LATENCY_PLAIN ? CELL_TRIAL_PLAIN : CELL_TRIAL_ACCELERATED);
}

/* By its cell, where the end has been forgotten meanwhile. */
static bool was_assigned(const struct trials *trials, const struct registry_end *end)
{
	const struct memory_cell *cell = cell_of(trials->helper, end);

	return end_has_arm(trials, end) || (cell && atomic_load(&cell->status) & TRIAL_ARM_BITS);
}

static void pair_set_arm(struct trials *trials, struct registry_end *a, struct registry_end *b, enum latency_arm arm)
{
	if (!was_assigned(trials, a) && !was_assigned(trials, b))
		trials->arms[arm].assigned++;
	if (!end_has_arm(trials, a) || a->arm != arm)
		end_set_arm(trials, a, arm);
	if (!end_has_arm(trials, b) || b->arm != arm)
		end_set_arm(trials, b, arm);
}

enum sm_reason trial_assign(struct helper *helper, struct registry_end *a, struct registry_end *b)
{
	struct trials *trials = helper->trials;
	enum latency_arm arm;

	if ((!trials->off && !trial_is_assigning(trials)) || !trial_selects(trials, a, b))
		return REASON_NONE;
	if (trials->off)
		return REASON_TRIAL_STOPPED;
	arm = decide(trials, a, b);
	pair_set_arm(trials, a, b, arm);
	return arm == LATENCY_PLAIN ? REASON_TRIAL_PLAIN : REASON_NONE;
}

bool trial_is_plain(const struct helper *helper, const struct registry_end *end)
{
	return trial_is_assigning(helper->trials) && end_has_arm(helper->trials, end) && end->arm == LATENCY_PLAIN;
}

struct kept_out {
	const struct trials *trials;
	const struct registry_end *end;
	bool is_selected;
};

static void peer_visit(struct registry_end *peer, void *context)
{
	struct kept_out *kept_out = context;

	kept_out->is_selected |= trial_selects(kept_out->trials, kept_out->end, peer);
}

bool trial_keeps_out(const struct helper *helper, const struct registry_end *end)
{
	struct kept_out kept_out = { .trials = helper->trials, .end = end };

	if (helper->trials->off)
		registry_each_peer(helper->registry, &end->key, peer_visit, &kept_out);
	return kept_out.is_selected;
}

bool trial_is_off(const struct helper *helper)
{
	return helper->trials->off;
}

/* ---- slots ---- */

void trial_slot_sums(const struct slot *slot, struct sm_direction *sums)
{
	for (int side = 0; side < SM_SIDES; side++)
		slot_sums_add_since(sums, &slot->shared->direction[side], &slot->trial_base[side]);
}

/* By the arm of its ends: should one of the plain arm ever be armed, its redirected bytes would show there. */
void trial_slot_armed(struct helper *helper, struct slot *slot)
{
	struct trials *trials = helper->trials;
	const struct registry_end *end = slot->end[0];
	bool was_armed = false;

	if (!trial_is_assigning(trials) || !end || !end_has_arm(trials, end))
		return;
	slot->trial = trials->number;
	slot->trial_arm = end->arm;
	for (int side = 0; side < SM_SIDES; side++) {
		slot->trial_base[side] = slot->shared->direction[side];
		was_armed |= slot->end[side] && slot->end[side]->trial_armed == trials->number;
		if (slot->end[side])
			slot->end[side]->trial_armed = trials->number;
	}
	trials->arms[end->arm].armed += !was_armed; /* it may leave, and come back */
}

void trial_slot_released(struct helper *helper, struct slot *slot)
{
	struct trials *trials = helper->trials;

	if (slot->trial == trials->number && trial_is_collecting(trials))
		trial_slot_sums(slot, &trials->arms[slot->trial_arm].sums);
	slot->trial = 0;
}

/* Where the reader does not read it stays pinned, in neither arm, and the sweep tries again and again (withdraw.c). */
static void leave_for_trial(struct helper *helper, struct slot *slot, enum sm_reason reason)
{
	const bool keep_offer[SM_SIDES] = { slot->end[0]->owner.session_id != 0, slot->end[1]->owner.session_id != 0 };

	leave_unwaited(helper, slot, LEAVE_OF_SWEEP, reason, reason, keep_offer);
}

void trial_slot_found(struct helper *helper, struct slot *slot)
{
	struct trials *trials = helper->trials;
	struct registry_end *a = slot->end[0], *b = slot->end[1];

	if (slot->shared->state != SM_SLOT_ARMED || slot->shared->pins || !a || !b || !trial_selects(trials, a, b))
		return;
	if (trials->off) {
		leave_for_trial(helper, slot, REASON_TRIAL_STOPPED);
		return;
	}
	/* A pair of an earlier helper has no cells: nothing can be recorded. */
	if (end_has_arm(trials, a) || !a->owner.session_id || !b->owner.session_id)
		return;
	if (decide(trials, a, b) == LATENCY_PLAIN) {
		leave_for_trial(helper, slot, REASON_TRIAL_PLAIN);
		return;
	}
	pair_set_arm(trials, a, b, LATENCY_ACCELERATED);
	trial_slot_armed(helper, slot);
}

void trial_pair_left(struct helper *helper, struct registry_end *a, struct registry_end *b)
{
	struct trials *trials = helper->trials;

	if (trial_is_assigning(trials) && a && b)
		pair_set_arm(trials, a, b, LATENCY_PLAIN);
	else if (!trials->off && (a || b)) /* the trial is over by now */
		pairing_match(helper, a ? a : b);
}
