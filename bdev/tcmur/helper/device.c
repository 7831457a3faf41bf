/* The device as its handler sees it: names that tcmu-runner and libtcmu export, over this helper's one device. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

struct tcmu_device device;

/* EXPORT declares and begins a function that only handlers call. */
#define EXPORT(type, name, ...) type name(__VA_ARGS__); type name(__VA_ARGS__)
#define FIELD(type, name, field) \
	EXPORT(type, tcmu_dev_get_##name, struct tcmu_device *d) { return d->field; } \
	EXPORT(void, tcmu_dev_set_##name, struct tcmu_device *d, type v) { d->field = v; }

FIELD(uint32_t, max_xfer_len, max_xfer)
FIELD(uint32_t, max_unmap_len, max_unmap)
FIELD(uint32_t, unmap_gran_align, unmap_align)
FIELD(uint32_t, opt_xcopy_rw_len, xcopy)
FIELD(bool, solid_state_media, solid_state)
FIELD(bool, unmap_enabled, unmap_enabled)
FIELD(bool, write_protect_enabled, write_protect)

EXPORT(uint32_t, tcmu_dev_get_opt_unmap_gran, struct tcmu_device *d) { return d->unmap_gran; }
EXPORT(void, tcmu_dev_set_opt_unmap_gran, struct tcmu_device *d, uint32_t blocks, bool split)
{
	(void)split;
	d->unmap_gran = blocks;
}

bool tcmu_dev_get_write_cache_enabled(struct tcmu_device *d);
bool tcmu_dev_get_write_cache_enabled(struct tcmu_device *d) { return d->wce; }
void tcmu_dev_set_write_cache_enabled(struct tcmu_device *d, bool on) { d->wce = on; }
uint32_t tcmu_dev_get_block_size(struct tcmu_device *d) { return d->block_size; }
void tcmu_dev_set_block_size(struct tcmu_device *d, uint32_t n) { d->block_size = n; }
uint64_t tcmu_dev_get_num_lbas(struct tcmu_device *d) { return d->num_lbas; }
void tcmu_dev_set_num_lbas(struct tcmu_device *d, uint64_t n) { d->num_lbas = n; }
char *tcmu_dev_get_cfgstring(struct tcmu_device *d) { return d->cfg; }

void *tcmur_dev_get_private(struct tcmu_device *d) { return d->handler_private; }
void tcmur_dev_set_private(struct tcmu_device *d, void *p) { d->handler_private = p; }
EXPORT(void *, tcmu_dev_get_private, struct tcmu_device *d) { return d->lib_private; }
EXPORT(void, tcmu_dev_set_private, struct tcmu_device *d, void *p) { d->lib_private = p; }

EXPORT(char *, tcmu_dev_get_uio_name, struct tcmu_device *d) { return d->uio; }
EXPORT(int, tcmu_dev_get_fd, struct tcmu_device *d) { (void)d; return -1; }
EXPORT(void *, tcmu_dev_get_handler, struct tcmu_device *d) { (void)d; return &loaded.h; }
EXPORT(void *, tcmu_get_runner_handler, struct tcmu_device *d) { (void)d; return &loaded.h; }
EXPORT(void, tcmu_dev_flush_ring, struct tcmu_device *d) { (void)d; }
EXPORT(bool, tcmu_dev_oooc_supported, struct tcmu_device *d) { (void)d; return true; }
EXPORT(uint64_t, tcmu_lba_to_byte, struct tcmu_device *d, uint64_t lba) { return lba * d->block_size; }
EXPORT(uint64_t, tcmu_byte_to_lba, struct tcmu_device *d, uint64_t bytes) { return bytes / d->block_size; }

/* A handler that learns of another size tells it; before open has returned it is simply the size. */
int tcmur_dev_update_size(struct tcmu_device *d, uint64_t bytes)
{
	if (bytes == 0 || bytes % d->block_size != 0)
		return -EINVAL;
	d->num_lbas = bytes / d->block_size;
	if (d->is_open)
		tell("size %llu", (unsigned long long)bytes);
	return 0;
}

EXPORT(void, tcmu_notify_cmd_timed_out, struct tcmu_device *d) { (void)d; tell("timeout"); }
void tcmu_notify_conn_lost(struct tcmu_device *d) { (void)d; tell("lost conn"); }
void tcmu_notify_lock_lost(struct tcmu_device *d) { (void)d; tell("lost lock"); }

/* The kernel's configfs is not there: these say what a device of tcmu-runner would say. */
EXPORT(uint64_t, tcmu_cfgfs_dev_get_info_u64, struct tcmu_device *d, const char *name, int *ret)
{
	*ret = strcmp(name, "Size") == 0 ? 0 : -ENOENT;
	return *ret == 0 ? d->num_lbas * d->block_size : 0;
}
EXPORT(int, tcmu_cfgfs_dev_get_attr_int, struct tcmu_device *d, const char *name)
{
	return strcmp(name, "hw_block_size") == 0 ? (int)d->block_size : -ENOENT;
}
EXPORT(char *, tcmu_cfgfs_dev_get_wwn, struct tcmu_device *d) { return strdup(d->name); }
EXPORT(int, tcmu_cfgfs_dev_exec_action, struct tcmu_device *d, const char *name, uint64_t v)
{
	(void)d, (void)name, (void)v;
	return -ENOSYS;
}
EXPORT(int, tcmu_cfgfs_dev_set_ctrl_u64, struct tcmu_device *d, const char *key, uint64_t v)
{
	if (strcmp(key, "dev_size") == 0)
		return tcmur_dev_update_size(d, v);
	return -ENOSYS;
}
EXPORT(int, tcmu_cfgfs_get_int, const char *path) { (void)path; return -ENOSYS; }
EXPORT(uint64_t, tcmu_cfgfs_get_u64, const char *path, int *ret) { (void)path; *ret = -ENOSYS; return 0; }
EXPORT(char *, tcmu_cfgfs_get_str, const char *path) { (void)path; errno = ENOSYS; return NULL; }
EXPORT(int, tcmu_cfgfs_set_str, const char *path, const char *v, int len) { (void)path, (void)v, (void)len; return -ENOSYS; }
EXPORT(int, tcmu_cfgfs_set_u32, const char *path, uint32_t v) { (void)path, (void)v; return -ENOSYS; }
EXPORT(int, tcmu_cfgfs_mod_param_set_u32, const char *name, uint32_t v) { (void)name, (void)v; return -ENOSYS; }

EXPORT(void, tcmu_set_thread_name, const char *prefix, struct tcmu_device *d)
{
	char name[16];
	snprintf(name, sizeof name, "%.7s-%.7s", prefix, d->name);
	pthread_setname_np(pthread_self(), name);
}

/* tcmu_thread_cancel: no handler is known to need it. Cancelling is not safe, so the thread is waited for. */
EXPORT(void, tcmu_thread_cancel, pthread_t thread) { pthread_join(thread, NULL); }

/* What libraries log themselves (glfs) goes where the rest goes. */
EXPORT(int, tcmu_make_absolute_logfile, char *path, const char *name)
{
	(void)name;
	strcpy(path, "/dev/stderr");
	return 0;
}

#if !__GLIBC_PREREQ(2, 38)
EXPORT(size_t, strlcpy, char *dst, const char *src, size_t size)
{
	size_t n = strlen(src);
	if (size != 0) {
		size_t m = n < size - 1 ? n : size - 1;
		memcpy(dst, src, m);
		dst[m] = 0;
	}
	return n;
}
#endif
