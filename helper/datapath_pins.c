/* SPDX-License-Identifier: BSD-2-Clause */
/* The pins of the data path: what makes armed pairs outlive a helper, and how the next one takes them over.
 *
 * Only the four maps are pinned. A pin counts as a user's reference on the sockhash, and as long as there is one the
 * kernel keeps the verdict attached to it; every joined socket holds the verdict it was inserted with besides. So with
 * no helper running nothing needs a pinned program. The helper that takes over attaches its own verdict to the map:
 * sockets that join from then on get that one, the others keep the one they have; both work on the same slots.
 *
 * Maps of another layout (SM_ABI, sizes, number of slots) are unpinned, not emptied: the kernel keeps them for as long
 * as a socket in them lives (invariant 5). Their kill switch is set before: nobody can pin those pairs any more, or take them out, and
 * no later `smaccel off` would reach them.
 */
#define _GNU_SOURCE
#include "datapath_internal.h"

#include <bpf/bpf.h>
#include <errno.h>
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

#define BPFFS_ROOT "/sys/fs/bpf"
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

static int pin_path(char path[PATH_MAX], const char *pin_dir, const char *name)
{
	int length = snprintf(path, PATH_MAX, "%s/%s", pin_dir, name);

	return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static bool is_bpffs(const char *path)
{
	struct statfs facts;

	return statfs(path, &facts) == 0 && facts.f_type == BPF_FS_MAGIC;
}

int datapath_pins_prepare(const char *pin_dir)
{
	int error;

	if (!strncmp(pin_dir, BPFFS_ROOT "/", strlen(BPFFS_ROOT "/")) && !is_bpffs(BPFFS_ROOT) &&
	    mount("bpf", BPFFS_ROOT, "bpf", 0, "mode=0700") < 0) {
		error = -errno;
		fprintf(stderr, "smacceld: cannot mount bpffs: %s; try: mount -t bpf bpf " BPFFS_ROOT "\n",
			strerror(-error));
		return error;
	}
	if (mkdir(pin_dir, 0700) < 0 && errno != EEXIST) {
		error = -errno;
		fprintf(stderr, "smacceld: cannot make %s: %s; its parent must exist (--pin-dir)\n", pin_dir,
			strerror(-error));
		return error;
	}
	if (!is_bpffs(pin_dir)) {
		fprintf(stderr, "smacceld: %s is not on a bpf file system; choose a --pin-dir below " BPFFS_ROOT "\n",
			pin_dir);
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

/* The first `count` of them. */
static int unpin(const char *pin_dir, const struct datapath_map_spec *specs, int count)
{
	char path[PATH_MAX];
	int error = 0;

	for (int i = 0; i < count; i++) {
		error = pin_path(path, pin_dir, specs[i].name);
		if (error)
			return error;
		if (unlink(path) < 0 && errno != ENOENT) {
			error = -errno;
			fprintf(stderr, "smacceld: cannot remove %s: %s\n", path, strerror(-error));
			return error;
		}
	}
	return 0;
}

/* Sets the kill switch in switches of whatever layout: these two words stay where they are in all of them. Whether it was set. */
static bool switch_off(int fd)
{
	uint32_t words[SWITCHES_MAX / sizeof(uint32_t)] = { 0 };
	struct bpf_map_info info = {};
	__u32 bytes = sizeof(info), zero = 0;
	bool was_off;

	_Static_assert(offsetof(struct sm_switches, abi) == 0 && offsetof(struct sm_switches, off) == 4, "for ever");
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &bytes) < 0 || info.type != BPF_MAP_TYPE_ARRAY ||
	    info.key_size != sizeof(zero) || info.value_size < 2 * sizeof(*words) || info.value_size > sizeof(words) ||
	    bpf_map_lookup_elem(fd, &zero, words) < 0 || !words[0])
		return false;
	was_off = words[1];
	words[1] = 1;
	bpf_map_update_elem(fd, &zero, words, BPF_ANY);
	return was_off;
}

int datapath_pins_open(const char *pin_dir, const struct datapath_map_spec *specs, int fds[DATAPATH_MAP_COUNT],
		       bool *was_off)
{
	struct sm_switches switches = {};
	char path[PATH_MAX];
	bool fit = true, found = false;
	uint32_t zero = 0;
	int error;

	for (int i = 0; i < DATAPATH_MAP_COUNT; i++) {
		fds[i] = -1;
		error = pin_path(path, pin_dir, specs[i].name);
		if (error)
			return error;
		fds[i] = bpf_obj_get(path);
		found |= fds[i] >= 0;
		fit &= fds[i] >= 0 && map_fits(fds[i], &specs[i]);
	}
	if (fit && (bpf_map_lookup_elem(fds[DATAPATH_SWITCHES], &zero, &switches) < 0 || switches.abi != SM_ABI))
		fit = false;
	if (fit)
		return 1;
	*was_off = switch_off(fds[DATAPATH_SWITCHES]);
	close_all(fds);
	if (found)
		fprintf(stderr,
			"smacceld: the maps in %s have another layout or size: what runs on them goes by TCP from now "
			"on, new ones are made\n",
			pin_dir);
	return unpin(pin_dir, specs, DATAPATH_MAP_COUNT);
}

int datapath_pins_make(const char *pin_dir, const struct datapath_map_spec *specs, const int fds[DATAPATH_MAP_COUNT])
{
	char path[PATH_MAX];
	int error;

	for (int i = 0; i < DATAPATH_MAP_COUNT; i++) {
		error = pin_path(path, pin_dir, specs[i].name);
		if (!error && bpf_obj_pin(fds[i], path) < 0)
			error = -errno;
		if (error) {
			fprintf(stderr, "smacceld: cannot pin %s/%s: %s\n", pin_dir, specs[i].name, strerror(-error));
			unpin(pin_dir, specs, i);
			return error;
		}
	}
	return 0;
}
