PRAGMA journal_mode = WAL;
BEGIN TRANSACTION;
CREATE TABLE devices (
	fleet VARCHAR(64) NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	standing VARCHAR(16) NOT NULL, 
	first_seen FLOAT NOT NULL, 
	last_seen FLOAT, 
	broker VARCHAR(300) NOT NULL, 
	"key" BLOB, 
	key_since FLOAT, 
	revoked_at FLOAT, 
	sequence BIGINT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (fleet, device)
);
INSERT INTO "devices" VALUES('home','cellar','seen',10.0,10.0,'broker:1883',X'7B226B65796964223A202274776F227D',20.0,30.0,7);
INSERT INTO "devices" VALUES('home','kitchen','enrolled',10.0,10.0,'broker:1883',X'7B226B65796964223A20226F6E65227D',20.0,NULL,0);
CREATE TABLE documents (
	fleet VARCHAR(64) NOT NULL, 
	device VARCHAR(64) NOT NULL, 
	counter INTEGER NOT NULL, 
	digest VARCHAR(80) NOT NULL, 
	written_at FLOAT NOT NULL, 
	PRIMARY KEY (fleet, device)
);
INSERT INTO "documents" VALUES('home','kitchen',3,'sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb',103.0);
CREATE TABLE schema (
	version INTEGER NOT NULL
);
INSERT INTO "schema" VALUES(2);
COMMIT;
