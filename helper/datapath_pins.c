/* SPDX-License-Identifier: BSD-2-Clause */
/* The pins of the data path: what makes armed pairs outlive a helper, and how the next one takes them over.
 *
 * Only the four maps are pinned. A pin counts as a user's reference on the sockhash, and as long as there is one the
 * kernel keeps the verdict attached to it; every joined socket holds the verdict it was inserted with besides. So with
 * no helper running nothing needs a pinned program. The helper that takes over attaches its own verdict to the map:
 * sockets that join from then on get that one, the others keep the one they have; both work on the same slots.
 *
 * Maps of another layout (SM_ABI, sizes, number of slots) are unpinned, not emptied: the kernel keeps them for as long
 * as a socket in them lives (invariant 5). Their kill switch is set: nobody can pin those pairs any more, or take them out, and
 * no later `smaccel off` would reach them. All that at the very end of a start (datapath_commit()), when the new maps take their names,
 * which have the kill switch of the old ones by then: a start that fails, or is killed, loses neither the pairs nor what somebody has
 * said about the switch. The old switches have another name meanwhile, for whoever starts after one that was killed before it had set them.
 */
#define _GNU_SOURCE
#include "datapath_internal.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "log.h"

#define BPFFS_ROOT "/sys/fs/bpf"
#define NEW_SUFFIX "_new"
#define OLD_SUFFIX "_old"
#define SWITCHES_MAX 4096 /* bytes; they are a page at the most */

void datapath_map_specs(struct datapath_map_spec specs[DATAPATH_MAP_COUNT], uint32_t slot_count)
{
	specs[DATAPATH_SWITCHES] =
		(struct datapath_map_spec){ "switches", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sm_switches), 1 };
	specs[DATAPATH_SLOTS] =
		(struct datapath_map_spec){ "slots", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct sm_slot), slot_count };
	specs[DATAPATH_STORAGE] =
		(struct datapath_map_spec){ "storage", BPF_MAP_TYPE_SK_STORAGE, 4, sizeof(struct sm_endref), 0 };
	specs[DATAPATH_SOCKHASH] =
		(struct datapath_map_spec){ "sockhash", BPF_MAP_TYPE_SOCKHASH, 8, 8, slot_count * SM_SIDES };
}

static int pin_path(char path[PATH_MAX], const char *pin_dir, const char *name, const char *suffix)
{
	int length = snprintf(path, PATH_MAX, "%s/%s%s", pin_dir, name, suffix);

	return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool is_bpffs(const char *path)
{
	struct statfs facts;

	return statfs(path, &facts) == 0 && facts.f_type == BPF_FS_MAGIC;
}

/* Where other programs' pins are. */
static bool is_mount_point(const char *path)
{
	struct statx facts;

	return statx(AT_FDCWD, path, 0, 0, &facts) == 0 && (facts.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

int datapath_pins_prepare(const char *pin_dir)
{
	int error;

	if (!strncmp(pin_dir, BPFFS_ROOT "/", strlen(BPFFS_ROOT "/")) && !is_bpffs(BPFFS_ROOT) &&
	    mount("bpf", BPFFS_ROOT, "bpf", 0, "mode=0700") < 0) {
		error = -errno;
		log_error("cannot mount bpffs: %s; try: mount -t bpf bpf " BPFFS_ROOT, strerror(-error));
		return error;
	}
	if (is_mount_point(pin_dir)) {
		log_error("%s is everybody's; choose a folder of its own below it (--pin-dir)", pin_dir);
		return -EINVAL;
	}
	if (mkdir(pin_dir, 0700) < 0 && errno != EEXIST) {
		error = -errno;
		log_error("cannot make %s: %s; its parent must exist (--pin-dir)", pin_dir, strerror(-error));
		return error;
	}
	if (!is_bpffs(pin_dir)) {
		log_error("%s is not on a bpf file system; choose a --pin-dir below " BPFFS_ROOT, pin_dir);
		return -EINVAL;
	}
	return 0;
}

static bool map_fits(int fd, const struct datapath_map_spec *spec)
{
	struct bpf_map_info info = {};
	__u32 bytes = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0 && info.type == spec->type &&
	       info.key_size == spec->key_size && info.value_size == spec->value_size &&
	       (!spec->max_entries || info.max_entries == spec->max_entries);
}

static void close_all(int fds[DATAPATH_MAP_COUNT])
{
	for (int i = 0; i < DATAPATH_MAP_COUNT; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* Switches of whatever layout: the first two words stay where they are in all of them. */
static bool read_switches(int fd, uint32_t words[SWITCHES_MAX / sizeof(uint32_t)])
{
	struct bpf_map_info info = {};
	__u32 bytes = sizeof(info), zero = 0;

	_Static_assert(offsetof(struct sm_switches, abi) == 0 && offsetof(struct sm_switches, off) == 4, "for ever");
	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0 && info.type == BPF_MAP_TYPE_ARRAY &&
	       info.key_size == sizeof(zero) && info.value_size >= 2 * sizeof(*words) &&
	       info.value_size <= SWITCHES_MAX && bpf_map_lookup_elem(fd, &zero, words) == 0 && words[0];
}

bool datapath_pins_are_off(int switches_fd)
{
	uint32_t words[SWITCHES_MAX / sizeof(uint32_t)] = { 0 };

	return read_switches(switches_fd, words) && words[1];
}

/* Sets it: what runs there passes, until its sockets close. */
static void retire(int switches_fd)
{
	uint32_t words[SWITCHES_MAX / sizeof(uint32_t)] = { 0 }, zero = 0;

	if (!read_switches(switches_fd, words))
		return;
	words[1] = 1;
	bpf_map_update_elem(switches_fd, &zero, words, BPF_ANY);
}

static int unpin(const char *pin_dir, const char *name, const char *suffix)
{
	char path[PATH_MAX];
	int error = pin_path(path, pin_dir, name, suffix);

	if (error)
		return error;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Of a helper that failed, or was killed, before they had taken their names. */
static void forget_new(const char *pin_dir, const struct datapath_map_spec *specs)
{
	for (int i = 0; i < DATAPATH_MAP_COUNT; i++)
		unpin(pin_dir, specs[i].name, NEW_SUFFIX);
}

static bool has_new(const char *pin_dir, const char *name)
{
	char path[PATH_MAX];

	return !pin_path(path, pin_dir, name, NEW_SUFFIX) && access(path, F_OK) == 0;
}

static uint32_t map_id(int fd)
{
	struct bpf_map_info info = {};
	__u32 bytes = sizeof(info);

	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0 ? info.id : 0;
}

static int open_pin(const char *pin_dir, const char *name, const char *suffix)
{
	char path[PATH_MAX];
	int error = pin_path(path, pin_dir, name, suffix);

	return error ? error : bpf_obj_get(path);
}

/* Of a start that was killed after it had given the last name. Before that they are those in use. */
static void retire_old(const char *pin_dir, const char *name)
{
	int old = open_pin(pin_dir, name, OLD_SUFFIX);
	int named;

	if (old < 0)
		return;
	named = open_pin(pin_dir, name, "");
	if (map_id(named) != map_id(old))
		retire(old);
	if (named >= 0)
		close(named);
	close(old);
	unpin(pin_dir, name, OLD_SUFFIX);
}

/* A start ended while it gave names: all new maps have theirs but the switches, so that these are still the old ones' and may seem to fit.
 * Nothing has used the new ones: that one is missing makes it plain. True: so it was. */
static bool undo_half_named(const char *pin_dir, const struct datapath_map_spec *specs)
{
	if (!has_new(pin_dir, specs[DATAPATH_SWITCHES].name) || has_new(pin_dir, specs[DATAPATH_SLOTS].name))
		return false;
	unpin(pin_dir, specs[DATAPATH_SLOTS].name, "");
	return true;
}

int datapath_pins_open(const char *pin_dir, const struct datapath_map_spec *specs, int fds[DATAPATH_MAP_COUNT],
		       int *old_switches)
{
	struct sm_switches switches = {};
	bool fit = true, found = false;
	uint32_t zero = 0;

	retire_old(pin_dir, specs[DATAPATH_SWITCHES].name);
	for (int i = 0; i < DATAPATH_MAP_COUNT; i++) {
		fds[i] = open_pin(pin_dir, specs[i].name, "");
		if (fds[i] == -ENAMETOOLONG)
			return fds[i];
		found |= fds[i] >= 0;
		fit &= fds[i] >= 0 && map_fits(fds[i], &specs[i]);
	}
	if (fit && (bpf_map_lookup_elem(fds[DATAPATH_SWITCHES], &zero, &switches) < 0 || switches.abi != SM_ABI))
		fit = false;
	if (undo_half_named(pin_dir, specs))
		fit = false;
	if (fit) {
		forget_new(pin_dir, specs);
		return 1;
	}
	if (found)
		log_error("the maps in %s have another layout or size: new ones are made, and what runs on "
			  "them goes by TCP once these are ready",
			  pin_dir);
	*old_switches = fds[DATAPATH_SWITCHES];
	fds[DATAPATH_SWITCHES] = -1;
	close_all(fds);
	return 0;
}

static int pin_anew(const char *pin_dir, const char *name, const char *suffix, int fd)
{
	char path[PATH_MAX];
	int error = pin_path(path, pin_dir, name, suffix);

	if (error)
		return error;
	unlink(path); /* of a helper that was killed */
	return bpf_obj_pin(fd, path) < 0 ? -errno : 0;
}

static int give_name(const char *pin_dir, const char *name)
{
	char from[PATH_MAX], to[PATH_MAX];
	int error = pin_path(from, pin_dir, name, NEW_SUFFIX);

	if (!error)
		error = pin_path(to, pin_dir, name, "");
	if (error)
		return error;
	return rename(from, to) < 0 ? -errno : 0;
}

static int make_all(const char *pin_dir, const struct datapath_map_spec *specs, const int fds[DATAPATH_MAP_COUNT])
{
	int error = 0;

	/* The switches last, in each of these: where they wait for their name, so did all others (undo_half_named()). */
	for (int i = DATAPATH_MAP_COUNT - 1; i >= DATAPATH_SWITCHES && !error; i--)
		error = pin_anew(pin_dir, specs[i].name, NEW_SUFFIX, fds[i]);
	/* While any other is missing nothing fits, and what the switches say is carried over once more. */
	for (int i = DATAPATH_SWITCHES + 1; i < DATAPATH_MAP_COUNT && !error; i++)
		error = unpin(pin_dir, specs[i].name, "");
	for (int i = DATAPATH_MAP_COUNT - 1; i >= DATAPATH_SWITCHES && !error; i--)
		error = give_name(pin_dir, specs[i].name);
	return error;
}

int datapath_pins_make(const char *pin_dir, const struct datapath_map_spec *specs, const int fds[DATAPATH_MAP_COUNT],
		       int old_switches)
{
	const char *switches = specs[DATAPATH_SWITCHES].name;
	int error = old_switches < 0 ? 0 : pin_anew(pin_dir, switches, OLD_SUFFIX, old_switches);

	if (!error)
		error = make_all(pin_dir, specs, fds);
	if (!error) {
		retire_old(pin_dir, switches);
		return 0;
	}
	log_error("cannot pin the maps in %s: %s", pin_dir, strerror(-error));
	undo_half_named(pin_dir, specs);
	forget_new(pin_dir, specs);
	unpin(pin_dir, switches, OLD_SUFFIX);
	return error;
}
