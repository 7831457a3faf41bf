/*
 * A handler in memory as one was written for tcmu-runner 1.5.0: ram/@ for memory, ram/PATH or /ram/PATH for a mapped file.
 * Its struct has the layout of that version: no writesame, no caw, no report_event, no init.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi.h"

struct handler_1_5_0 {
	const char *name, *subtype, *cfg_desc;
	void *opaque;
	void *check_config, *reconfig;
	int (*open)(struct tcmu_device *, bool);
	void (*close)(struct tcmu_device *);
	int nr_threads;
	void *handle_cmd;
	tcmur_rw_fn read, write;
	void *flush, *unmap, *lock, *unlock, *get_lock_tag, *get_lock_state;
	bool is_dbus_handler;
	void *update_logdir;
};
_Static_assert(sizeof(struct handler_1_5_0) == 160, "handler_1_5_0");

static uint64_t size_of(struct tcmu_device *d) { return tcmu_dev_get_num_lbas(d) * tcmu_dev_get_block_size(d); }

static int open_ram(struct tcmu_device *d, bool reopen)
{
	(void)reopen;
	const char *path = strchr(tcmu_dev_get_cfgstring(d), '/') + 1;
	int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	if (strcmp(path, "@") != 0) {
		fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, size_of(d)) != 0)
			return -errno;
		flags = MAP_SHARED;
	}
	void *mem = mmap(NULL, size_of(d), PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (mem == MAP_FAILED)
		return -errno;
	tcmur_dev_set_private(d, mem);
	return 0;
}

static void close_ram(struct tcmu_device *d) { munmap(tcmur_dev_get_private(d), size_of(d)); }

static int read_ram(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)c;
	tcmu_memcpy_into_iovec(iov, n, (char *)tcmur_dev_get_private(d) + off, len);
	return TCMU_STS_OK;
}

static int write_ram(struct tcmu_device *d, struct tcmur_cmd *c, struct iovec *iov, size_t n, size_t len, off_t off)
{
	(void)c;
	tcmu_memcpy_from_iovec((char *)tcmur_dev_get_private(d) + off, len, iov, n);
	return TCMU_STS_OK;
}

struct handler_1_5_0 ram_handler = {
	.name = "RAM", .subtype = "ram", .cfg_desc = "ram/@ or ram/PATH", .nr_threads = 1,
	.open = open_ram, .close = close_ram, .read = read_ram, .write = write_ram,
};
int handler_init(void);
int handler_init(void) { return tcmur_register_handler((struct tcmur_handler *)&ram_handler); }
