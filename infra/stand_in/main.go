// A provider that knows the schema of Google's and nothing else: it takes every argument that Google's takes, refuses every other, and plans.
// It lets Terraform itself validate and plan infra/ where neither the registry nor Google is reached. The schema is ../provider_schema.json;
// which provider it is, its own file name says (terraform-provider-google, terraform-provider-google-beta).
//
// https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

const schemaFile = "PENSTOCK_PROVIDER_SCHEMA"

type argument struct {
	Type      string
	Block     string
	Required  bool
	Arguments map[string]argument
}

type told struct {
	Provider   string
	Arguments  map[string]argument
	Attributes []string
}

type schemas struct {
	Resource, Data, Provider map[string]told
}

var scalars = map[string]tftypes.Type{"string": tftypes.String, "number": tftypes.Number, "boolean": tftypes.Bool, "any": tftypes.DynamicPseudoType}

func typeOf(name string) tftypes.Type {
	words := strings.Fields(name)
	inner := scalars[words[len(words)-1]]
	switch {
	case len(words) == 1:
		return inner
	case words[0] == "list":
		return tftypes.List{ElementType: inner}
	default:
		return tftypes.Map{ElementType: inner}
	}
}

// Arguments of a resource or a block. computed: whether what is not given gets a value when it is applied.
func blockOf(arguments map[string]argument, attributes []string, computed bool) *tfprotov5.SchemaBlock {
	block := &tfprotov5.SchemaBlock{}
	for name, told := range arguments {
		if told.Block != "" {
			nested := &tfprotov5.SchemaNestedBlock{TypeName: name, Block: blockOf(told.Arguments, nil, false), Nesting: tfprotov5.SchemaNestedBlockNestingModeList}
			if told.Block == "one" {
				nested.MaxItems = 1
			}
			if told.Required {
				nested.MinItems = 1
			}
			if name == "timeouts" {
				nested.Nesting, nested.MinItems, nested.MaxItems = tfprotov5.SchemaNestedBlockNestingModeSingle, 0, 0
			}
			block.BlockTypes = append(block.BlockTypes, nested)
			continue
		}
		block.Attributes = append(block.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: typeOf(told.Type), Required: told.Required, Optional: !told.Required, Computed: computed && !told.Required})
	}
	for _, name := range attributes {
		if _, given := arguments[name]; !given {
			block.Attributes = append(block.Attributes, &tfprotov5.SchemaAttribute{Name: name, Type: tftypes.String, Computed: true})
		}
	}
	return block
}

type server struct {
	tfprotov5.ProviderServer // what is not below is never called for a plan
	schema                   *tfprotov5.GetProviderSchemaResponse
}

func load(path, provider string) (*tfprotov5.GetProviderSchemaResponse, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all schemas
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	given := all.Provider[provider].Arguments
	delete(given, "alias") // Terraform's own
	found := &tfprotov5.GetProviderSchemaResponse{
		Provider:          &tfprotov5.Schema{Block: blockOf(given, nil, false)},
		ResourceSchemas:   map[string]*tfprotov5.Schema{},
		DataSourceSchemas: map[string]*tfprotov5.Schema{},
	}
	for name, told := range all.Resource {
		if told.Provider == provider {
			found.ResourceSchemas[name] = &tfprotov5.Schema{Block: blockOf(told.Arguments, told.Attributes, true)}
		}
	}
	for name, told := range all.Data {
		if told.Provider == provider {
			found.DataSourceSchemas[name] = &tfprotov5.Schema{Block: blockOf(told.Arguments, told.Attributes, true)}
		}
	}
	return found, nil
}

func (s *server) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return s.schema, nil
}

func (s *server) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (s *server) ConfigureProvider(context.Context, *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	return &tfprotov5.ConfigureProviderResponse{}, nil
}

func (s *server) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func (s *server) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (s *server) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

// What is not given and has a value of its own is unknown until it is applied.
func (s *server) PlanResourceChange(_ context.Context, r *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	filled, err := fill(s.schema.ResourceSchemas[r.TypeName], r.ProposedNewState, func(_ string, kind tftypes.Type) tftypes.Value {
		return tftypes.NewValue(kind, tftypes.UnknownValue)
	})
	return &tfprotov5.PlanResourceChangeResponse{PlannedState: filled}, err
}

// Data is read while planning: what is asked for gets a text that says what it stands for.
func (s *server) ReadDataSource(_ context.Context, r *tfprotov5.ReadDataSourceRequest) (*tfprotov5.ReadDataSourceResponse, error) {
	filled, err := fill(s.schema.DataSourceSchemas[r.TypeName], r.Config, func(name string, kind tftypes.Type) tftypes.Value {
		if kind.Is(tftypes.String) {
			return tftypes.NewValue(kind, "stand-in-"+name)
		}
		return tftypes.NewValue(kind, nil)
	})
	return &tfprotov5.ReadDataSourceResponse{State: filled}, err
}

func fill(schema *tfprotov5.Schema, raw *tfprotov5.DynamicValue, empty func(string, tftypes.Type) tftypes.Value) (*tfprotov5.DynamicValue, error) {
	kind := schema.ValueType()
	value, err := raw.Unmarshal(kind)
	if err != nil || value.IsNull() {
		return raw, err
	}
	fields := map[string]tftypes.Value{}
	if err := value.As(&fields); err != nil {
		return nil, err
	}
	for _, attribute := range schema.Block.Attributes {
		if attribute.Computed && fields[attribute.Name].IsNull() {
			fields[attribute.Name] = empty(attribute.Name, attribute.Type)
		}
	}
	filled, err := tfprotov5.NewDynamicValue(kind, tftypes.NewValue(kind, fields))
	return &filled, err
}

func main() {
	provider, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(os.Args[0]), "terraform-provider-"), "_")
	schema, err := load(os.Getenv(schemaFile), provider)
	if err != nil {
		log.Fatal(err)
	}
	address := "registry.terraform.io/hashicorp/" + provider
	if err := tf5server.Serve(address, func() tfprotov5.ProviderServer { return &server{schema: schema} }); err != nil {
		log.Fatal(err)
	}
}
