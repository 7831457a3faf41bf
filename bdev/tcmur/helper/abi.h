/*
 * What a tcmu-runner handler and its host agree on, for 64-bit machines. The structs are those of tcmu-runner 1.5.4 to 1.6.x;
 * handler.c reads the older layouts of 1.5.0 to 1.5.3 into them. All of it is written from the interface, and test handlers
 * include this file too.
 */
#ifndef POLLUX_TCMUR_ABI_H
#define POLLUX_TCMUR_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

enum {
	TCMU_STS_NOT_HANDLED = -1,
	TCMU_STS_ASYNC_HANDLED = -2,
	TCMU_STS_OK = 0,
	TCMU_STS_NO_RESOURCE = 1,
	TCMU_STS_PASSTHROUGH_ERR = 2,
	TCMU_STS_BUSY = 3,
	TCMU_STS_WR_ERR = 4,
	TCMU_STS_RD_ERR = 5,
	TCMU_STS_MISCOMPARE = 6,
	TCMU_STS_INVALID_CMD = 7,
	TCMU_STS_INVALID_CDB = 8,
	TCMU_STS_TIMEOUT = 11,
	TCMU_STS_FENCED = 12,
	TCMU_STS_HW_ERR = 13,
	TCMU_STS_RANGE = 14,
};

enum { TCMULIB_CFG_DEV_CFGSTR, TCMULIB_CFG_DEV_SIZE, TCMULIB_CFG_WRITE_CACHE };

struct tcmu_device; /* the host's own; handlers use the getters */

struct tcmulib_cfg_info {
	int type;
	union {
		uint64_t dev_size;
		char *dev_cfgstring;
		bool write_cache;
	} data;
};

struct tcmulib_cmd {
	uint16_t cmd_id;
	uint8_t *cdb;
	struct iovec *iovec;
	size_t iov_cnt;
	uint8_t sense_buf[96];
	void *hm_private;
};

struct list_node {
	struct list_node *next, *prev;
};

struct tcmur_cmd {
	struct tcmulib_cmd *lib_cmd;
	struct iovec *iovec;
	size_t iov_cnt;
	void *iov_base_copy;
	void *cmd_state;
	size_t requested;
	struct list_node cmds_list_entry;
	struct timespec start_time;
	bool timed_out;
	void (*done)(struct tcmu_device *dev, struct tcmur_cmd *cmd, int status);
};

typedef int (*tcmur_rw_fn)(struct tcmu_device *, struct tcmur_cmd *, struct iovec *, size_t count, size_t length, off_t);

struct tcmur_handler {
	const char *name;
	const char *subtype;
	const char *cfg_desc;
	void *opaque;
	bool (*check_config)(const char *cfgstring, char **reason);
	int (*reconfig)(struct tcmu_device *, struct tcmulib_cfg_info *);
	int (*open)(struct tcmu_device *, bool reopen);
	void (*close)(struct tcmu_device *);
	int nr_threads;
	int (*handle_cmd)(struct tcmu_device *, struct tcmur_cmd *);
	tcmur_rw_fn read;
	tcmur_rw_fn write;
	int (*flush)(struct tcmu_device *, struct tcmur_cmd *);
	int (*unmap)(struct tcmu_device *, struct tcmur_cmd *, uint64_t off, uint64_t len);
	int (*writesame)(struct tcmu_device *, struct tcmur_cmd *, uint64_t off, uint64_t len, struct iovec *, size_t count);
	int (*caw)(struct tcmu_device *, struct tcmur_cmd *, uint64_t off, uint64_t len, struct iovec *, size_t count);
	int (*report_event)(struct tcmu_device *);
	int (*lock)(struct tcmu_device *, uint16_t tag);
	int (*unlock)(struct tcmu_device *);
	int (*get_lock_tag)(struct tcmu_device *, uint16_t *tag);
	int (*get_lock_state)(struct tcmu_device *);
	bool is_dbus_handler;
	bool (*update_logdir)(void);
	int (*init)(void);
	void (*destroy)(void);
};

int tcmur_register_handler(struct tcmur_handler *handler);
void tcmur_cmd_complete(struct tcmu_device *dev, void *cmd, int status);
int tcmur_dev_update_size(struct tcmu_device *dev, uint64_t bytes);
void *tcmur_dev_get_private(struct tcmu_device *dev);
void tcmur_dev_set_private(struct tcmu_device *dev, void *p);
char *tcmu_dev_get_cfgstring(struct tcmu_device *dev);
uint64_t tcmu_dev_get_num_lbas(struct tcmu_device *dev);
void tcmu_dev_set_num_lbas(struct tcmu_device *dev, uint64_t n);
uint32_t tcmu_dev_get_block_size(struct tcmu_device *dev);
void tcmu_dev_set_block_size(struct tcmu_device *dev, uint32_t n);
void tcmu_dev_set_write_cache_enabled(struct tcmu_device *dev, bool on);
void tcmu_notify_conn_lost(struct tcmu_device *dev);
void tcmu_notify_lock_lost(struct tcmu_device *dev);
void tcmu_sense_set_info(uint8_t *sense, uint32_t info);
size_t tcmu_memcpy_into_iovec(struct iovec *iov, size_t count, void *src, size_t len);
size_t tcmu_memcpy_from_iovec(void *dest, size_t len, struct iovec *iov, size_t count);
void tcmu_err_message(struct tcmu_device *dev, const char *func, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void tcmu_info_message(struct tcmu_device *dev, const char *func, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #type "." #field)
#if defined(__LP64__)
AT(tcmur_handler, check_config, 32);
AT(tcmur_handler, nr_threads, 64);
AT(tcmur_handler, handle_cmd, 72);
AT(tcmur_handler, read, 80);
AT(tcmur_handler, write, 88);
AT(tcmur_handler, writesame, 112);
AT(tcmur_handler, report_event, 128);
AT(tcmur_handler, lock, 136);
AT(tcmur_handler, is_dbus_handler, 168);
AT(tcmur_handler, init, 184);
_Static_assert(sizeof(struct tcmur_handler) == 200, "tcmur_handler");
AT(tcmur_cmd, cmd_state, 32);
AT(tcmur_cmd, cmds_list_entry, 48);
AT(tcmur_cmd, start_time, 64);
AT(tcmur_cmd, timed_out, 80);
AT(tcmur_cmd, done, 88);
_Static_assert(sizeof(struct tcmur_cmd) == 96, "tcmur_cmd");
AT(tcmulib_cmd, iovec, 16);
AT(tcmulib_cmd, sense_buf, 32);
AT(tcmulib_cmd, hm_private, 128);
_Static_assert(sizeof(struct tcmulib_cmd) == 136, "tcmulib_cmd");
_Static_assert(sizeof(struct tcmulib_cfg_info) == 16, "tcmulib_cfg_info");
#else
#error "tcmu-runner's layouts are known for 64-bit machines only"
#endif

#endif
